// SPDX-License-Identifier: Apache-2.0

import System

/// An index file: everything in its tables is checked, and fits the sizes of the file and the content.
package struct IndexFile: Sendable {
  package let identity: ArchiveIdentity
  /// The uuid of the archive.
  package let uuid: UInt128
  /// Bytes of the uncompressed archive.
  package let contentSize: UInt64
  package let points: [ZstdPoint]
  let excerpts: [IndexExcerpt]
  let file: any RandomAccess

  /// Whether some first bytes are those of an index file.
  package static func isIndex(_ magic: [UInt8]) -> Bool { magic.starts(with: IndexFormat.magic) }

  /// - Throws: `Failure` 65 if this is not a sound index file, 74 if reading fails.
  package init(_ file: any RandomAccess) throws {
    self.file = file
    func refuse(_ why: String) -> Failure { Failure(.badData, "\(file.name): \(why)") }
    let least = UInt64(IndexFormat.headerSize + IndexFormat.trailerSize)
    let header = try Self.bytes(of: file, at: 0, IndexFormat.headerSize)
    guard Self.isIndex(header) else { throw refuse("is not an index file") }
    guard file.size >= least, header.count == IndexFormat.headerSize else {
      throw refuse("the index is truncated")
    }
    let version = header.span.bigEndian(8..<12)
    guard version == IndexFormat.version else {
      throw refuse("is an index of an unknown version: \(version)")
    }
    let trailerStart = file.size - UInt64(IndexFormat.trailerSize)
    let trailer = try Self.bytes(of: file, at: trailerStart, IndexFormat.trailerSize)
    guard trailer.count == IndexFormat.trailerSize, Self.isIndex(trailer),
      trailer.span.bigEndian(8..<12) == version
    else { throw refuse("the index is truncated") }
    let damaged = refuse("the index is damaged")
    func field(_ start: Int) -> UInt64 { trailer.span.bigEndian(start..<start + 8) }
    func wide(_ bytes: [UInt8], _ start: Int) -> UInt128 {
      UInt128(bytes.span.bigEndian(start..<start + 8)) << 64
        | UInt128(bytes.span.bigEndian(start + 8..<start + 16))
    }
    identity = ArchiveIdentity(
      size: field(16), startDigest: wide(trailer, 48), endDigest: wide(trailer, 64))
    contentSize = field(24)
    uuid = wide(trailer, 32)
    let (pointCount, excerptCount, tables) = (field(80), field(88), field(96))
    guard identity.size <= UInt64(Int64.max), contentSize <= UInt64(Int64.max),
      tables >= UInt64(IndexFormat.headerSize), tables <= trailerStart,
      pointCount > 0, pointCount <= file.size, excerptCount <= file.size,
      // Neither product overflows: both counts are less than the size of a file.
      pointCount.multipliedReportingOverflow(by: UInt64(IndexFormat.pointSize)).overflow == false,
      excerptCount.multipliedReportingOverflow(by: UInt64(IndexFormat.excerptSize)).overflow
        == false
    else { throw damaged }
    let pointBytes = pointCount * UInt64(IndexFormat.pointSize)
    let excerptBytes = excerptCount * UInt64(IndexFormat.excerptSize)
    let tableSize = trailerStart - tables
    guard pointBytes <= tableSize, tableSize - pointBytes == excerptBytes else { throw damaged }

    try Host.requireMemory(
      Int(pointCount) * MemoryLayout<ZstdPoint>.stride
        + Int(excerptCount) * MemoryLayout<IndexExcerpt>.stride)
    let hash = try XXH3()
    let buffer = try Buffer(capacity: 1 << 16)
    func add(_ bytes: [UInt8]) {
      buffer.copy(bytes, to: 0)
      hash.update(buffer, 0..<bytes.count)
    }
    add(header)
    var points: [ZstdPoint] = []
    points.reserveCapacity(Int(pointCount))
    var excerpts: [IndexExcerpt] = []
    excerpts.reserveCapacity(Int(excerptCount))
    // In pieces of complete entries: both sizes divide the capacity.
    var place = tables
    while place < trailerStart {
      let table = place < tables + pointBytes ? tables + pointBytes : trailerStart
      let wanted = Int(min(UInt64(buffer.capacity), table - place))
      guard try file.read(into: buffer, 0..<wanted, at: place) == wanted else { throw damaged }
      hash.update(buffer, 0..<wanted)
      buffer.withBytes(0..<wanted) { bytes in
        if table == trailerStart, place >= tables + pointBytes {
          for start in stride(from: 0, to: wanted, by: IndexFormat.excerptSize) {
            excerpts.append(Self.excerpt(bytes, start))
          }
        } else {
          for start in stride(from: 0, to: wanted, by: IndexFormat.pointSize) {
            points.append(Self.point(bytes, start))
          }
        }
      }
      place += UInt64(wanted)
    }
    add(Array(trailer[..<IndexFormat.digestStart]))
    guard hash.value() == wide(trailer, IndexFormat.digestStart) else { throw damaged }
    self.points = points
    self.excerpts = excerpts
    guard arePointsSound(tables), areExcerptsSound(tables) else { throw damaged }
  }

  /// Some bytes; fewer at the end of the file.
  private static func bytes(
    of file: any RandomAccess, at offset: UInt64, _ count: Int
  ) throws -> [UInt8] {
    let buffer = try Buffer(capacity: count)
    let found = try file.read(into: buffer, 0..<count, at: offset)
    return buffer.withBytes(0..<found) { bytes in bytes.indices.map { bytes[$0] } }
  }

  private static func frame(_ bytes: Span<UInt8>, _ start: Int) -> IndexFrame {
    IndexFrame(
      position: bytes.bigEndian(start..<start + 8),
      storedSize: UInt32(bytes.bigEndian(start + 8..<start + 12)),
      size: UInt32(bytes.bigEndian(start + 12..<start + 16)))
  }

  private static func point(_ bytes: Span<UInt8>, _ start: Int) -> ZstdPoint {
    ZstdPoint(
      stored: bytes.bigEndian(start..<start + 8),
      content: bytes.bigEndian(start + 8..<start + 16),
      windowByte: bytes[start + 48] == 0 ? nil : bytes[start + 49],
      history: frame(bytes, start + 16),
      digest: UInt128(bytes.bigEndian(start + 32..<start + 40)) << 64
        | UInt128(bytes.bigEndian(start + 40..<start + 48)))
  }

  private static func excerpt(_ bytes: Span<UInt8>, _ start: Int) -> IndexExcerpt {
    let (lower, upper) = (
      bytes.bigEndian(start..<start + 8), bytes.bigEndian(start + 8..<start + 16)
    )
    // An empty range is refused below.
    return IndexExcerpt(
      content: lower..<max(lower, upper), frame: frame(bytes, start + 16))
  }

  // MARK: Checks

  private func arePointsSound(_ end: UInt64) -> Bool {
    guard points[0].content == 0, points[0].windowByte == nil else { return false }
    for (index, point) in points.enumerated() {
      let isLast = index + 1 == points.count
      let (stored, content) =
        isLast
        ? (identity.size, contentSize) : (points[index + 1].stored, points[index + 1].content)
      guard point.stored < stored, point.content < content,
        content - point.content <= ZstdIndexedFrames.chunkLimit
      else { return false }
      if let byte = point.windowByte {
        guard ZstdPoint.window(byte) <= DecompressionLimit.window,
          UInt64(point.history.size) <= min(ZstdPointFinder.historyLimit, point.content),
          isSound(point.history, end)
        else { return false }
      }
    }
    return true
  }

  private func areExcerptsSound(_ end: UInt64) -> Bool {
    var last: UInt64 = 0
    for excerpt in excerpts {
      guard excerpt.content.lowerBound >= last, !excerpt.content.isEmpty,
        excerpt.content.upperBound <= contentSize, excerpt.frame.size <= IndexFormat.excerptLimit,
        isSound(excerpt.frame, end)
      else { return false }
      last = excerpt.content.upperBound
    }
    return true
  }

  /// Whether a frame is within the file, before its tables.
  private func isSound(_ frame: IndexFrame, _ end: UInt64) -> Bool {
    frame.position >= UInt64(IndexFormat.headerSize) && frame.position <= end
      && UInt64(frame.storedSize) <= end - frame.position
      && Int(frame.storedSize) <= IndexFrame.bound(Int(frame.size))
  }
}
