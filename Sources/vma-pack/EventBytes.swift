// SPDX-License-Identifier: Apache-2.0

import System

/// The source of the bytes of an event stream.
protocol EventBytes: AnyObject {
  /// Whether `read` would return at once, with data or at the end, or will within the timeout.
  func isReady(within milliseconds: Int32) throws -> Bool
  /// Waits for some bytes and reads them; 0 at the end.
  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int
  /// Whether the stream is at its end.
  func isAtEnd() throws -> Bool
}
