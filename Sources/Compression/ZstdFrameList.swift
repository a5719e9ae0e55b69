// SPDX-License-Identifier: Apache-2.0

import System

/// Finds the frames of zstd from the headers of frames and blocks, without decoding anything.
enum ZstdFrameList {
  /// A frame alone that is larger is not worth decoding for a few bytes.
  private static let largestSingleFrame: UInt64 = 16 << 20

  /// The frames with content.
  ///
  /// - Returns: nil if the data is damaged, if a frame does not state its size, or if a frame is too
  ///   large.
  static func frames(of access: any RandomAccess) throws -> [Chunk]? {
    let reader = try HeaderReader(access)
    var chunks: [Chunk] = []
    var position: UInt64 = 0
    while position < access.size {
      let header: ZstdFrameHeader
      switch try reader.read(ZstdFrameHeader.largestSize, at: position, Self.start) {
      case .skippable(let size):
        // At most 2^32 bytes, so this does not overflow.
        position += size
        continue
      case .frame(let found): header = found
      case nil: return nil
      }
      guard let size = header.contentSize, size <= DecompressionLimit.window,
        let end = try self.end(of: header, at: position, reader),
        ZstdChunks.isUsable(stored: end - position, content: size)
      else { return nil }
      if size > 0 { try chunks.add(stored: position..<end, contentSize: size) }
      position = end
    }
    let isSingle = chunks.count == 1 && chunks[0].content.count > largestSingleFrame
    return position == access.size && !chunks.isEmpty && !isSingle ? chunks : nil
  }

  private enum Start {
    case skippable(UInt64)
    case frame(ZstdFrameHeader)
  }

  private static func start(_ bytes: Span<UInt8>) -> Start? {
    guard bytes.count >= 8 else { return nil }
    if case .passed(let size) = SkippableFrames.begin(bytes) { return .skippable(size) }
    guard case .header(let header) = ZstdFrameHeader.parse(bytes) else { return nil }
    return .frame(header)
  }

  /// Where a frame ends; nil if it is damaged.
  private static func end(
    of header: ZstdFrameHeader, at start: UInt64, _ reader: HeaderReader
  ) throws -> UInt64? {
    var position = start + UInt64(header.size)
    while true {
      let block = try reader.read(ZstdBlockHeader.size, at: position) { bytes in
        bytes.count == ZstdBlockHeader.size ? ZstdBlockHeader(bytes) : nil
      }
      guard let block else { return nil }
      position += UInt64(block.storedSize)
      guard position <= reader.access.size else { return nil }
      if block.isLast { break }
    }
    position += header.hasChecksum ? 4 : 0
    return position <= reader.access.size ? position : nil
  }
}
