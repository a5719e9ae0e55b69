// SPDX-License-Identifier: Apache-2.0

import System

/// Finds the end of a frame of zstd from its headers, without decoding it.
struct ZstdFrameWalker {
  enum Step {
    /// `storedSize` is the size of the frame.
    case end
    /// This many bytes from the start of the frame are needed to continue.
    case needs(Int)
    /// Not a frame, or a damaged one.
    case nothing
  }

  /// Nil until it is known, and for a skippable frame.
  private(set) var header: ZstdFrameHeader?
  /// Bytes of the frame that were walked over.
  private(set) var storedSize = 0
  /// The content of the blocks so far is at most this many bytes.
  private(set) var contentBound = 0
  private var isAfterLastBlock = false
  /// Whether this is the skippable frame that pzstd writes before each frame.
  private(set) var isByPzstd = false

  /// Whether this is the start of such a frame, whose content is the size of the next frame.
  static func isByPzstd(_ bytes: Span<UInt8>) -> Bool {
    bytes.count >= 8 && bytes.littleEndian(0..<8) == 0x4_184d_2a50
  }

  /// Continues from where the last call ended.
  ///
  /// - Parameter bytes: from the start of the frame.
  mutating func advance(_ bytes: Span<UInt8>) -> Step {
    if storedSize == 0 {
      guard bytes.count >= 4 else { return .needs(4) }
      if let start = SkippableFrames.begin(bytes) { return pass(start, bytes) }
      switch ZstdFrameHeader.parse(bytes) {
      case .needs(let count): return .needs(count)
      case .nothing: return .nothing
      case .header(let header):
        self.header = header
        storedSize = header.size
      }
    }
    while !isAfterLastBlock {
      guard bytes.count >= storedSize + ZstdBlockHeader.size else {
        return .needs(storedSize + ZstdBlockHeader.size)
      }
      guard let block = ZstdBlockHeader(bytes.extracting(storedSize...)) else { return .nothing }
      // A frame that is too large for memory is given up before this can overflow.
      storedSize += block.storedSize
      contentBound += block.contentBound
      if block.isLast {
        isAfterLastBlock = true
        if header?.hasChecksum == true { storedSize += 4 }
      }
    }
    return bytes.count >= storedSize ? .end : .needs(storedSize)
  }

  private mutating func pass(_ start: FrameStart, _ bytes: Span<UInt8>) -> Step {
    switch start {
    case .passed(let count):
      // At most 4 GiB and 7 bytes.
      guard bytes.count >= Int(count) else { return .needs(Int(count)) }
      storedSize = Int(count)
      isByPzstd = Self.isByPzstd(bytes)
      return .end
    case .needs(let count): return .needs(count)
    case .frame, .nothing: return .nothing
    }
  }
}
