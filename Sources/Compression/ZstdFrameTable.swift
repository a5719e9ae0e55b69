// SPDX-License-Identifier: Apache-2.0

import System

/// The seek table of the seekable format of zstd: the last frame of a file, a skippable one.
///
/// Per frame, it has the compressed size and the size of the content (4 bytes each, little-endian),
/// and optionally a checksum (4). Then follow the number of frames (4), a descriptor (1; bit 7: with
/// checksums) and a magic (4). Frames of size 0 are skippable or empty.
enum ZstdFrameTable {
  private static let skippableMagic: UInt64 = 0x184d_2a5e
  private static let tableMagic: UInt64 = 0x8f92_eab1
  private static let footerSize = 9
  private static let skippableHeaderSize = 8

  private struct Place {
    var entries: Range<UInt64>
    var entrySize: Int
    var frameCount: Int { entries.count / entrySize }
    /// Where the table starts, with the header of its frame.
    var start: UInt64 { entries.lowerBound - UInt64(skippableHeaderSize) }
  }

  /// The frames with content.
  ///
  /// - Returns: nil if the file has no seek table, or one that does not fit the file.
  static func read(from access: any RandomAccess) throws -> [Chunk]? {
    guard let place = try find(in: access) else { return nil }
    // Before it is allocated; the count is no larger than the file.
    try Host.requireMemory(place.frameCount * MemoryLayout<Chunk>.stride)
    var chunks: [Chunk] = []
    chunks.reserveCapacity(place.frameCount)
    var (stored, content): (UInt64, UInt64) = (0, 0)
    let buffer = try Buffer(capacity: 1 << 16)
    let start = try Buffer(capacity: ZstdFrameHeader.largestSize)
    let piece = buffer.capacity / place.entrySize * place.entrySize
    var position = place.entries.lowerBound
    while position < place.entries.upperBound {
      let count = Int(min(UInt64(piece), place.entries.upperBound - position))
      guard try access.read(into: buffer, 0..<count, at: position) == count else { return nil }
      var empty: [Range<UInt64>] = []
      let isValid = buffer.withBytes(0..<count) { bytes in
        for start in stride(from: 0, to: count, by: place.entrySize) {
          // At most 2^32 entries below 2^32: these sums do not overflow.
          let storedEnd = stored + bytes.littleEndian(start..<start + 4)
          let contentEnd = content + bytes.littleEndian(start + 4..<start + 8)
          if contentEnd == content {
            empty.append(stored..<storedEnd)
          } else if ZstdChunks.isUsable(stored: storedEnd - stored, content: contentEnd - content) {
            chunks.append(Chunk(stored: stored..<storedEnd, content: content..<contentEnd))
          } else {
            return false
          }
          (stored, content) = (storedEnd, contentEnd)
          guard stored <= place.start else { return false }
        }
        return true
      }
      guard isValid else { return nil }
      for frame in empty where try !isEmpty(frame, access, start) { return nil }
      position += UInt64(count)
    }
    guard stored == place.start, !chunks.isEmpty else { return nil }
    return chunks
  }

  private static func find(in access: any RandomAccess) throws -> Place? {
    let least = UInt64(footerSize + skippableHeaderSize)
    guard access.size >= least else { return nil }
    let buffer = try Buffer(capacity: 16)
    let footer = access.size - UInt64(footerSize)
    guard try access.read(into: buffer, 0..<footerSize, at: footer) == footerSize else {
      return nil
    }
    let (count, descriptor, magic) = buffer.withBytes(0..<footerSize) { bytes in
      (bytes.littleEndian(0..<4), bytes[4], bytes.littleEndian(5..<9))
    }
    // The other bits of the descriptor are reserved.
    guard magic == tableMagic, descriptor & 0x7c == 0 else { return nil }
    let entrySize: UInt64 = descriptor & 0x80 != 0 ? 12 : 8
    let tableSize = count * entrySize
    guard tableSize <= access.size - least else { return nil }
    let place = Place(entries: footer - tableSize..<footer, entrySize: Int(entrySize))
    guard try access.read(into: buffer, 0..<8, at: place.start) == 8 else { return nil }
    let isTable = buffer.withBytes(0..<8) { bytes in
      bytes.littleEndian(0..<4) == skippableMagic
        && bytes.littleEndian(4..<8) == tableSize + UInt64(footerSize)
    }
    return isTable ? place : nil
  }

  /// Whether what the table lists without content is one frame that has none: others could hide
  /// after it.
  private static func isEmpty(
    _ frame: Range<UInt64>, _ access: any RandomAccess, _ buffer: Buffer
  ) throws -> Bool {
    let wanted = Int(min(UInt64(buffer.capacity), UInt64(frame.count)))
    let count = try access.read(into: buffer, 0..<wanted, at: frame.lowerBound)
    return buffer.withBytes(0..<count) { bytes in
      guard count >= 8 else { return false }
      if case .passed(let size) = SkippableFrames.begin(bytes) { return size == frame.count }
      var walker = ZstdFrameWalker()
      guard case .end = walker.advance(bytes) else { return false }
      return walker.header?.contentSize == 0 && walker.storedSize == frame.count
    }
  }
}
