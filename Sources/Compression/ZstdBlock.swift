// SPDX-License-Identifier: Apache-2.0

import System

/// A block of a zstd frame, as stored and decoded, in memory that is reused.
final class ZstdBlock: @unchecked Sendable {
  /// With its header.
  let stored: Buffer
  let content: Buffer
  var storedCount = 0
  var contentCount = 0
  /// The position of its header in the file.
  var position: UInt64 = 0
  /// The frame that it starts; nil for all but the first block of a frame.
  var frame: Frame?

  struct Frame {
    /// The position of the frame in the file.
    var position: UInt64
    /// Bytes.
    var window: UInt64
  }

  init() throws(Failure) {
    stored = try Buffer(capacity: ZstdBlockHeader.size + ZstdBlockHeader.largestContent)
    content = try Buffer(capacity: ZstdBlockHeader.largestContent)
  }
}
