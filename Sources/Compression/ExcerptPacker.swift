// SPDX-License-Identifier: Apache-2.0

package import System

/// Collects small parts of the content for an index file, such as headers, and stores many of them in
/// a frame.
///
/// Each is stored as the distance from the end of the one before it (8 bytes), its size (4 bytes), and
/// its bytes. If its size is that of the one before it, its 32-bit words are stored as differences from
/// those, because consecutive headers count upwards.
package final class ExcerptPacker {
  /// The maximum size of an excerpt; longer ones are split.
  static let sizeLimit = 1 << 16
  private static let countLimit = 64
  static let prefixSize = 12

  private let writer: IndexWriter
  private let payload: Buffer
  private var payloadCount = 0
  private var count = 0
  private var content: Range<UInt64> = 0..<0
  private let previous: Buffer
  private var previousSize = 0

  package init(_ writer: IndexWriter) throws {
    self.writer = writer
    payload = try Buffer(capacity: IndexFormat.excerptLimit)
    previous = try Buffer(capacity: Self.sizeLimit)
  }

  /// Adds an excerpt, which is after all others in the content.
  package func add(at offset: UInt64, _ bytes: Buffer, _ range: Range<Int>) throws {
    var (offset, rest) = (offset, range)
    while !rest.isEmpty {
      let part = rest.prefix(Self.sizeLimit)
      try addPart(at: offset, bytes, part)
      offset += UInt64(part.count)
      rest = part.upperBound..<rest.upperBound
    }
  }

  private func addPart(at offset: UInt64, _ bytes: Buffer, _ range: Range<Int>) throws {
    let size = Self.prefixSize + range.count
    if count == Self.countLimit || payloadCount + size > payload.capacity { try flush() }
    if count == 0 { content = offset..<offset }
    let distance = offset - content.upperBound
    let isDifference = range.count == previousSize
    bytes.withBytes(range) { bytes in
      previous.withMutableBytes(0..<range.count) { previous in
        payload.withMutableBytes(payloadCount..<payloadCount + size) { target in
          for index in 0..<8 {
            target[index] = UInt8(truncatingIfNeeded: distance >> UInt64(56 - 8 * index))
          }
          for index in 0..<4 {
            target[8 + index] = UInt8(truncatingIfNeeded: range.count >> (24 - 8 * index))
          }
          ExcerptPacker.copy(bytes, isDifference ? -1 : 0, &previous, &target)
        }
      }
    }
    previousSize = range.count
    payloadCount += size
    count += 1
    content = content.lowerBound..<offset + UInt64(range.count)
  }

  /// Writes the difference of bytes to the ones before, and keeps them as those.
  private static func copy(
    _ bytes: Span<UInt8>, _ sign: Int, _ previous: inout MutableSpan<UInt8>,
    _ target: inout MutableSpan<UInt8>
  ) {
    var index = 0
    while index < bytes.count {
      let width = min(4, bytes.count - index)
      var (word, base): (UInt32, UInt32) = (0, 0)
      for place in index..<index + width {
        word = word << 8 | UInt32(bytes[place])
        base = base << 8 | UInt32(previous[place])
      }
      let difference = sign == 0 ? word : word &- base
      for place in 0..<width {
        let shift = UInt32(8 * (width - 1 - place))
        target[prefixSize + index + place] = UInt8(truncatingIfNeeded: difference >> shift)
        previous[index + place] = bytes[index + place]
      }
      index += width
    }
  }

  /// Writes what was collected.
  package func flush() throws {
    if count > 0 { try writer.add(content, payload, 0..<payloadCount) }
    (payloadCount, count, previousSize) = (0, 0, 0)
  }
}
