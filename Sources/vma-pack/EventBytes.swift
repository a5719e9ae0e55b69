// SPDX-License-Identifier: Apache-2.0

import System

/// Where the bytes of an event stream come from.
protocol EventBytes: AnyObject {
  /// Whether `read` would give something at once, the end among it, or will within some time.
  func isReady(within milliseconds: Int32) throws -> Bool
  /// Reads some bytes, waiting for them; 0 at the end.
  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int
  /// Whether nothing follows.
  func isAtEnd() throws -> Bool
}
