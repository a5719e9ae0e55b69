// SPDX-License-Identifier: Apache-2.0

import System

/// Finds the frames of zstd from the headers of frames and blocks, without decoding anything.
enum ZstdFrameList {
  /// A frame alone that is larger is not worth decoding for a few bytes.
  private static let largestSingleFrame: UInt64 = 16 << 20

  /// The frames with content.
  ///
  /// - Parameter untilDamage: whether to return the frames before the first damaged one.
  /// - Returns: nil if the data is damaged, if a frame does not state its size, or if a frame is too
  ///   large.
  static func frames(of access: any RandomAccess, untilDamage: Bool = false) throws -> [Chunk]? {
    let reader = try HeaderReader(access)
    var chunks: [Chunk] = []
    var position: UInt64 = 0
    while position < access.size {
      guard let (end, size) = try frame(at: position, reader) else { break }
      if size > 0 { try chunks.add(stored: position..<end, contentSize: size) }
      position = end
    }
    guard position == access.size || untilDamage, let first = chunks.first else { return nil }
    return chunks.count == 1 && first.content.count > largestSingleFrame ? nil : chunks
  }

  /// The end of a frame, and the size of its content; nil if it is damaged or not usable.
  private static func frame(
    at position: UInt64, _ reader: HeaderReader
  ) throws -> (end: UInt64, contentSize: UInt64)? {
    switch try reader.read(ZstdFrameHeader.largestSize, at: position, Self.start) {
    case .skippable(let size):
      // At most 2^32 bytes, so this does not overflow.
      let end = position + size
      return end <= reader.access.size ? (end, 0) : nil
    case .frame(let header):
      guard let size = header.contentSize, size <= DecompressionLimit.window,
        let end = try self.end(of: header, at: position, reader),
        ZstdChunks.isUsable(stored: end - position, content: size)
      else { return nil }
      return (end, size)
    case nil: return nil
    }
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
