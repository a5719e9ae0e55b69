// SPDX-License-Identifier: Apache-2.0

import FilterIO
import MD5
import VMA

/// Turns disks into extents, on a thread of its own: disks one after another, clusters ascending,
/// as many to an extent as fit, so that the same disks always give the same bytes.
final class Packer: @unchecked Sendable {
  /// An extent to be written: its header, and clusters as they were read.
  final class Extent: @unchecked Sendable {
    /// The header at the start, then clusters of 64 KiB.
    let buffer = Buffer(
      capacity: Format.extentHeaderSize + Format.slotsPerExtent * Format.clusterSize)
    fileprivate var slots: [Slot] = []
    /// What of the buffer belongs in the archive, header first.
    fileprivate(set) var ranges: [Range<Int>] = []
    fileprivate var used = Format.extentHeaderSize

    fileprivate init() {}

    var byteCount: Int { ranges.reduce(0) { $0 + $1.count } }
    var clusterCount: Int { slots.count }
  }

  /// Read at once: large enough to make few calls, small enough that the blocks are still in the
  /// processor's cache when they are looked at for zeros.
  private static let readSize = 1 << 20
  private static let extentCount = 4

  private let sources: [(id: UInt8, disk: DiskSource)]
  private let uuid: UUID
  private let free: Channel<Extent>
  private let full = Channel<Extent>()
  private var current: Extent?

  /// - Parameter sources: in the order in which they are packed.
  init(_ sources: [(id: UInt8, disk: DiskSource)], uuid: UUID) {
    self.sources = sources
    self.uuid = uuid
    free = Channel((0..<Self.extentCount).map { _ in Extent() }, isStack: true)
  }

  func start() {
    _ = Thread { [self] in
      do {
        for source in sources { try pack(source.disk, id: source.id) }
        for source in sources { try source.disk.checkEnd() }
        // Only now: without its last extent an archive is never taken for a whole one.
        try hand()
        full.finish()
      } catch {
        full.finish(.failure(error))
      }
    }
  }

  /// The next extent to be written; nil after the last.
  func next() throws -> Extent? { try full.receive() }

  func recycle(_ extent: Extent) { free.send(extent) }

  private func pack(_ disk: DiskSource, id: UInt8) throws {
    let clusterSize = UInt64(Format.clusterSize)
    let clusterCount = (disk.size + clusterSize - 1) / clusterSize
    var cluster: UInt64 = 0
    var data: Range<UInt64>? = disk.data(from: 0)
    while cluster < clusterCount {
      let extent = try extentWithRoom()
      let room = UInt64(Format.slotsPerExtent - extent.slots.count)
      let offset = cluster * clusterSize
      if let known = data, known.upperBound <= offset { data = disk.data(from: offset) }
      let dataStart = (data?.lowerBound).map { $0 / clusterSize } ?? clusterCount
      let count: UInt64
      if dataStart > cluster {
        count = min(room, dataStart - cluster)
        for hole in cluster..<cluster + count {
          extent.slots.append(Slot(device: id, cluster: UInt32(hole), mask: 0))
        }
      } else {
        let dataEnd = ((data?.upperBound ?? 0) + clusterSize - 1) / clusterSize
        count = min(room, dataEnd - cluster, UInt64(Self.readSize / Format.clusterSize))
        try read(UInt32(cluster)..<UInt32(cluster + count), of: disk, id: id, into: extent)
      }
      cluster += count
      Progress.current.add(min(cluster * clusterSize, disk.size) - offset)
    }
  }

  private func read(
    _ clusters: Range<UInt32>, of disk: DiskSource, id: UInt8, into extent: Extent
  ) throws {
    let length = clusters.count * Format.clusterSize
    let start = extent.used
    try disk.read(
      into: extent.buffer, start..<start + length,
      at: UInt64(clusters.lowerBound) * UInt64(Format.clusterSize))
    var place = start
    for cluster in clusters {
      var mask: UInt16 = 0
      for block in 0..<Format.blocksPerCluster {
        let range = place..<place + Format.blockSize
        place = range.upperBound
        guard !extent.buffer.isZero(range) else { continue }
        mask |= 1 << UInt16(block)
        if let last = extent.ranges.last, last.upperBound == range.lowerBound {
          extent.ranges[extent.ranges.count - 1] = last.lowerBound..<range.upperBound
        } else {
          extent.ranges.append(range)
        }
      }
      extent.slots.append(Slot(device: id, cluster: cluster, mask: mask))
    }
    extent.used += length
  }

  private func extentWithRoom() throws -> Extent {
    if let current, current.slots.count < Format.slotsPerExtent { return current }
    if current != nil { try hand() }
    return try newExtent()
  }

  private func newExtent() throws -> Extent {
    guard let extent = try free.receive() else { throw Failure(.general, "interrupted") }
    extent.slots.removeAll(keepingCapacity: true)
    // The header and the first block are neighbours, but the range of the header comes first.
    extent.ranges = [0..<Format.extentHeaderSize]
    extent.used = Format.extentHeaderSize
    current = extent
    return extent
  }

  private func hand() throws {
    // An archive without any disk still has one extent.
    let extent = try current ?? newExtent()
    current = nil
    let header = ExtentHeader(slots: extent.slots)
    extent.buffer.withMutableBytes(0..<Format.extentHeaderSize) { bytes in
      header.serialize(into: &bytes, uuid: uuid, digest: MD5.self)
    }
    full.send(extent)
  }
}
