// SPDX-License-Identifier: Apache-2.0

import System

/// The excerpts of an archive's content in an index file. Several threads may use them.
final class Excerpts: @unchecked Sendable {
  private let index: IndexFile
  private let monitor = Monitor()
  /// The frame of excerpts that was decoded last: its number, its bytes, and the excerpts in it.
  private var cached: (number: Int, bytes: Buffer, parts: [Part])?

  private struct Part {
    var content: Range<UInt64>
    /// Its position in the bytes.
    var start: Int
  }

  init(_ index: IndexFile) { self.index = index }

  /// Copies bytes of one excerpt; returns 0 if there is none at this offset.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    try monitor.withLock { try copy(into: buffer, range, at: offset) }
  }

  /// How many bytes from an offset on are in excerpts, at least; nil if the first one is not.
  func contiguous(from offset: UInt64) -> UInt64? {
    monitor.withLock {
      // Reading reports a damaged frame. Of one frame: counting further would decode more of them.
      guard let part = (try? part(at: offset)) ?? nil else { return nil }
      var end = part.content.upperBound
      for next in cached?.parts ?? [] where next.content.lowerBound == end {
        end = next.content.upperBound
      }
      return end - offset
    }
  }

  /// Whether all excerpts of a part of the content equal it.
  ///
  /// - Parameter buffer: has the content from its byte 0 on.
  func match(_ buffer: Buffer, _ content: Range<UInt64>) throws -> Bool {
    try monitor.withLock {
      for number in firstFrame(endingAfter: content.lowerBound)..<index.excerpts.count {
        guard index.excerpts[number].content.lowerBound < content.upperBound else { break }
        if cached?.number != number { try load(number) }
        guard let cached else { return false }
        for part in cached.parts where part.content.overlaps(content) {
          let shared = part.content.clamped(to: content)
          let start = Int(shared.lowerBound - content.lowerBound)
          let excerpt = part.start + Int(shared.lowerBound - part.content.lowerBound)
          guard buffer.isEqual(start..<start + shared.count, to: cached.bytes, at: excerpt) else {
            return false
          }
        }
      }
      return true
    }
  }

  private func firstFrame(endingAfter offset: UInt64) -> Int {
    index.excerpts.partitionIndex { $0.content.upperBound > offset }
  }

  /// Copies bytes of one excerpt; returns 0 if there is none at this offset.
  private func copy(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    guard let part = try part(at: offset), let bytes = cached?.bytes else { return 0 }
    let skipped = Int(offset - part.content.lowerBound)
    let count = min(range.count, Int(part.content.upperBound - offset))
    let start = part.start + skipped
    buffer.copy(from: bytes, start..<start + count, to: range.lowerBound)
    return count
  }

  /// The excerpt at an offset; its frame is then in the cache.
  private func part(at offset: UInt64) throws -> Part? {
    let number = firstFrame(endingAfter: offset)
    guard number < index.excerpts.count, index.excerpts[number].content.contains(offset) else {
      return nil
    }
    if cached?.number != number { try load(number) }
    guard let parts = cached?.parts else { return nil }
    return parts.first { $0.content.contains(offset) }
  }

  private func load(_ number: Int) throws {
    let excerpt = index.excerpts[number]
    let bytes = try IndexFrame.read(excerpt.frame, from: index.file)
    guard let parts = Self.decode(bytes, excerpt.content) else {
      throw Failure(
        .badData,
        "\(index.file.name): the index is damaged at byte \(excerpt.frame.position)")
    }
    cached = (number, bytes, parts)
  }

  /// Turns differences back into bytes, where they are; nil if they are not excerpts of this part.
  private static func decode(_ buffer: Buffer, _ content: Range<UInt64>) -> [Part]? {
    buffer.withMutableBytes(0..<buffer.capacity) { bytes in
      var parts: [Part] = []
      var place = 0
      var end = content.lowerBound
      while place < bytes.count {
        guard bytes.count - place >= ExcerptPacker.prefixSize else { return nil }
        func field(_ start: Int, _ count: Int) -> UInt64 {
          (start..<start + count).reduce(0) { $0 << 8 | UInt64(bytes[$1]) }
        }
        let (distance, size) = (field(place, 8), Int(field(place + 8, 4)))
        place += ExcerptPacker.prefixSize
        guard size > 0, size <= ExcerptPacker.sizeLimit, size <= bytes.count - place,
          distance <= content.upperBound - end,
          UInt64(size) <= content.upperBound - end - distance
        else { return nil }
        let start = end + distance
        if let last = parts.last, last.content.count == size {
          add(&bytes, from: last.start, to: place, size)
        }
        parts.append(Part(content: start..<start + UInt64(size), start: place))
        end = start + UInt64(size)
        place += size
      }
      return end == content.upperBound ? parts : nil
    }
  }

  /// Adds 32-bit words to the ones at another place.
  private static func add(
    _ bytes: inout MutableSpan<UInt8>, from source: Int, to target: Int, _ size: Int
  ) {
    var index = 0
    while index < size {
      let width = min(4, size - index)
      var sum: UInt32 = 0
      var base: UInt32 = 0
      for place in index..<index + width {
        sum = sum << 8 | UInt32(bytes[target + place])
        base = base << 8 | UInt32(bytes[source + place])
      }
      sum = sum &+ base
      for place in 0..<width {
        bytes[target + index + place] = UInt8(
          truncatingIfNeeded: sum >> UInt32(8 * (width - 1 - place)))
      }
      index += width
    }
  }
}
