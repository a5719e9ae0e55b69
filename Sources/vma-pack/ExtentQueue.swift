// SPDX-License-Identifier: Apache-2.0

import FilterIO
import MD5
import VMA

/// An extent in the making, and then on its way out: its header, and clusters as they were read.
final class PackedExtent: @unchecked Sendable {
  /// The header at the start, then clusters of 64 KiB.
  let buffer: Buffer
  private(set) var slots: [Slot] = []
  /// What of the buffer belongs in the archive, header first.
  private(set) var ranges: [Range<Int>] = []
  private var used = 0

  fileprivate init() throws {
    buffer = try Buffer(
      capacity: Format.extentHeaderSize + Format.slotsPerExtent * Format.clusterSize)
  }

  fileprivate func clear() {
    slots.removeAll(keepingCapacity: true)
    ranges.removeAll(keepingCapacity: true)
    ranges.append(0..<Format.extentHeaderSize)
    used = Format.extentHeaderSize
  }

  /// Clusters that it still has slots for.
  var room: Int { Format.slotsPerExtent - slots.count }
  var byteCount: Int { ranges.reduce(0) { $0 + $1.count } }

  /// Where the data of the next clusters is to be put, before `add`.
  func place(for clusterCount: Int) -> Range<Int> {
    used..<used + clusterCount * Format.clusterSize
  }

  /// Adds clusters that are all zeros.
  func add(zeros clusters: Range<UInt64>, device: UInt8) {
    for cluster in clusters {
      slots.append(Slot(device: device, cluster: UInt32(cluster), mask: 0))
    }
  }

  /// Adds clusters whose data was put in their place; blocks of zeros in it are left out.
  func add(_ clusters: Range<UInt64>, device: UInt8) {
    for cluster in clusters {
      var mask: UInt16 = 0
      for block in 0..<Format.blocksPerCluster {
        let range = used..<used + Format.blockSize
        used = range.upperBound
        guard !buffer.isZero(range) else { continue }
        mask |= 1 << UInt16(block)
        if let last = ranges.last, last.upperBound == range.lowerBound {
          ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
        } else {
          ranges.append(range)
        }
      }
      slots.append(Slot(device: device, cluster: UInt32(cluster), mask: mask))
    }
  }
}

/// Extents between the thread that makes them and the one that writes them: a fixed number, so that
/// making waits for writing.
final class ExtentQueue: @unchecked Sendable {
  private let uuid: UUID
  private let free: Channel<PackedExtent>
  private let full = Channel<PackedExtent>()
  private var current: PackedExtent?

  /// - Parameters:
  ///   - uuid: of the archive.
  ///   - count: extents in memory, about 3.7 MiB each.
  init(uuid: UUID, count: Int = 4) throws {
    self.uuid = uuid
    free = try Channel((0..<count).map { _ in try PackedExtent() }, isStack: true)
  }

  // MARK: The side that makes

  /// Runs `body`, which makes extents, on a thread of its own, and ends the queue with its result.
  /// The last extent is only handed over when all has gone well: without it an archive is never
  /// taken for a whole one.
  func fill(_ body: @escaping @Sendable () throws -> Void) throws {
    _ = try Thread { [self] in
      do {
        try body()
        // An archive without any disk still has one extent.
        if current == nil { current = try emptyExtent() }
        handOver()
        full.finish()
      } catch {
        full.finish(.failure(error))
      }
    }
  }

  /// The extent in the making, with room for a cluster at least; waits until there is one.
  func extentWithRoom() throws -> PackedExtent {
    if let current, current.room > 0 { return current }
    handOver()
    let extent = try emptyExtent()
    current = extent
    return extent
  }

  /// Whether there is room for a cluster without waiting, and a whole extent besides for what cannot
  /// wait.
  var hasRoomToSpare: Bool {
    free.count > (current.map { $0.room > 0 } ?? false ? 0 : 1)
  }

  private func emptyExtent() throws -> PackedExtent {
    guard let extent = try free.receive() else { throw Failure(.general, "interrupted") }
    extent.clear()
    return extent
  }

  private func handOver() {
    guard let extent = current else { return }
    current = nil
    let header = ExtentHeader(slots: extent.slots)
    extent.buffer.withMutableBytes(0..<Format.extentHeaderSize) { bytes in
      header.serialize(into: &bytes, uuid: uuid, digest: MD5.self)
    }
    full.send(extent)
  }

  // MARK: The side that writes

  /// The next extent to be written; nil after the last.
  func next() throws -> PackedExtent? { try full.receive() }

  func recycle(_ extent: PackedExtent) { free.send(extent) }
}
