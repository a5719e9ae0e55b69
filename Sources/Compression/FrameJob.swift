// SPDX-License-Identifier: Apache-2.0

import System

/// A frame to be compressed. It belongs to the writer, and to a worker from its start until it is done.
final class FrameJob: @unchecked Sendable {
  private(set) var input: (buffer: Buffer, ranges: [Range<Int>])?
  private(set) var level = 0
  private(set) var contentSize = 0
  private(set) var whenRead: @Sendable () -> Void = {}
  /// The compressed frame.
  var output: Buffer?
  /// The size of the frame; nil until it is complete.
  var result: Result<Int, Failure>?

  func prepare(
    _ buffer: Buffer, _ ranges: [Range<Int>], level: Int,
    whenRead: @escaping @Sendable () -> Void
  ) {
    input = (buffer, ranges)
    self.level = level
    contentSize = ranges.reduce(0) { $0 + $1.count }
    self.whenRead = whenRead
    result = nil
  }

  /// Marks the input as read.
  func releaseInput() {
    input = nil
    whenRead()
    whenRead = {}
  }
}
