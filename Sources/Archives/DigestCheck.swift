// SPDX-License-Identifier: Apache-2.0

import Compression
import System
import VMA

/// Compares the data of a seekable archive with its digests, as the data is read: an extent at once or
/// in pieces, together with other extents.
///
/// An extent whose data is not read in its own order, or not all of it, is read again at the end.
package final class DigestCheck: @unchecked Sendable {
  /// An extent that a digest covers.
  struct Extent: Sendable {
    var digest: UInt128
    /// Where its blocks start in the file, in bytes.
    var start: UInt64
    var length: UInt32
    var number: UInt32

    var end: UInt64 { start + UInt64(length) }
  }

  private enum State: UInt8 {
    case unread, inOrder, outOfOrder, right
  }

  private let access: any RandomAccess
  private let header: ArchiveHeader
  private let name: String
  private let extents: [Extent]
  private var states: [State]
  /// The digests of the extents in progress, and the byte that continues each.
  private var open: [Int: (hash: XXH3, next: UInt64)] = [:]
  private var spare: [XXH3] = []
  private var current = 0

  /// Digests in progress: as many as there are extents of early clusters, in a usual archive.
  private static let openLimit = 4096

  /// - Parameters:
  ///   - access: the uncompressed archive.
  ///   - name: of the archive, for messages.
  ///   - extents: those that are covered, in the order of the file.
  init(
    _ access: any RandomAccess, _ header: ArchiveHeader, name: String, extents: [Extent]
  ) {
    self.access = access
    self.header = header
    self.name = name
    self.extents = extents
    states = [State](repeating: .unread, count: extents.count)
  }

  /// Processes data that was read.
  ///
  /// - Parameter position: of the data in the file.
  /// - Throws: `Failure` 65 if an extent differs from its digest.
  func update(_ buffer: Buffer, _ range: Range<Int>, at position: UInt64) throws {
    var position = position
    var range = range
    while !range.isEmpty, let index = firstExtent(endingAfter: position) {
      let extent = extents[index]
      let skipped = Int(min(UInt64(range.count), extent.start - min(extent.start, position)))
      let first = range.lowerBound + skipped
      let count = min(range.upperBound - first, Int(extent.end - position - UInt64(skipped)))
      if count > 0 {
        try update(index, buffer, first..<first + count, at: position + UInt64(skipped))
      }
      position += UInt64(skipped + count)
      range = first + count..<range.upperBound
    }
  }

  /// Checks all extents that were not read completely in order.
  package func finish() throws {
    open = [:]
    var buffer: Buffer?
    for index in extents.indices where states[index] != .right {
      let memory = try buffer ?? Buffer(capacity: VMAFormat.blocksPerExtent * VMAFormat.blockSize)
      buffer = memory
      let count = Int(extents[index].length)
      let read = try access.read(into: memory, 0..<count, at: extents[index].start)
      guard read == count else {
        throw Failure(.inputOutput, "\(access.name): was truncated while it was read")
      }
      let hash = try takeHash()
      hash.update(memory, 0..<count)
      try compare(index, hash)
    }
  }

  private func firstExtent(endingAfter position: UInt64) -> Int? {
    if current < extents.count, extents[current].end > position,
      current == 0 || extents[current - 1].end <= position
    {
      return current
    }
    current = extents.partitionIndex { $0.end > position }
    return current < extents.count ? current : nil
  }

  private func update(
    _ index: Int, _ buffer: Buffer, _ range: Range<Int>, at position: UInt64
  ) throws {
    switch states[index] {
    case .right, .outOfOrder: return
    case .unread:
      guard position == extents[index].start, open.count < Self.openLimit else {
        states[index] = .outOfOrder
        return
      }
      states[index] = .inOrder
      open[index] = (try takeHash(), position)
    case .inOrder: break
    }
    guard let (hash, next) = open[index] else { return }
    guard next == position else {
      states[index] = .outOfOrder
      open[index] = nil
      spare.append(hash)
      return
    }
    hash.update(buffer, range)
    let end = position + UInt64(range.count)
    open[index] = end < extents[index].end ? (hash, end) : nil
    if end == extents[index].end { try compare(index, hash) }
  }

  private func takeHash() throws -> XXH3 {
    let hash = try spare.popLast() ?? XXH3()
    hash.reset()
    return hash
  }

  private func compare(_ index: Int, _ hash: XXH3) throws {
    guard hash.value() == extents[index].digest else { throw try failure(extents[index]) }
    states[index] = .right
    spare.append(hash)
  }

  /// The failure names the drives of the extent, from its header in the file.
  private func failure(_ extent: Extent) throws -> Failure {
    let size = VMAFormat.extentHeaderSize
    let byte = extent.start - UInt64(size)
    let buffer = try Buffer(capacity: size)
    _ = try access.read(into: buffer, 0..<size, at: byte)
    do {
      let damaged = try buffer.withBytes(0..<size) { (bytes) throws(FormatError) in
        try ExtentHeader(
          parsing: bytes, uuid: header.uuid, digest: MD5.self, number: Int(extent.number),
          byte: byte)
      }
      return Failure(name, .damagedData(of: damaged)).naming(
        header.devices.filter { damaged.hasData(of: [$0.id]) }, as: "damaged")
    } catch {
      return Failure(name, error)
    }
  }
}
