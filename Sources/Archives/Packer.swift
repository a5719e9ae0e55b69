// SPDX-License-Identifier: Apache-2.0

package import Disks
import System
import VMA

/// Copies disks that do not change, one after another, clusters ascending, so that the same disks
/// always result in the same archive.
package struct Packer: Sendable {
  /// The size of a read: large enough to need few calls, small enough that the blocks are still in
  /// the processor cache when they are compared with zeros.
  private static let readSize = 1 << 20

  /// In the order in which they are packed.
  let sources: [(id: UInt8, disk: DiskSource)]
  let queue: ExtentQueue

  package init(sources: [(id: UInt8, disk: DiskSource)], queue: ExtentQueue) {
    self.sources = sources
    self.queue = queue
  }

  package func run() throws {
    for source in sources { try pack(source.disk, id: source.id) }
    for source in sources { try source.disk.checkEnd() }
  }

  private func pack(_ disk: DiskSource, id: UInt8) throws {
    let clusterSize = UInt64(VMAFormat.clusterSize)
    let clusterCount = disk.size.dividedRoundingUp(by: clusterSize)
    var cluster: UInt64 = 0
    var data = try disk.data(from: 0)
    while cluster < clusterCount {
      let offset = cluster * clusterSize
      if let known = data, known.upperBound <= offset {
        data = try disk.data(from: offset)
      }
      let dataStart = (data?.lowerBound).map { $0 / clusterSize } ?? clusterCount
      let count: UInt64
      if dataStart > cluster {
        // In parts, for the sake of the progress.
        count = min(UInt64(VMAFormat.slotsPerExtent), dataStart - cluster)
        try queue.add(zeros: cluster..<cluster + count, device: id)
      } else {
        let dataEnd = (data?.upperBound ?? 0).dividedRoundingUp(by: clusterSize)
        let wanted = min(dataEnd - cluster, UInt64(Self.readSize / VMAFormat.clusterSize))
        let place = queue.place(for: Int(wanted))
        count = UInt64(place.count) / clusterSize
        try disk.read(into: queue.buffer, place, at: offset)
        try queue.add(cluster..<cluster + count, device: id, at: place)
      }
      cluster += count
      Progress.current.add(min(cluster * clusterSize, disk.size) - offset)
    }
  }
}
