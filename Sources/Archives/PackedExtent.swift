// SPDX-License-Identifier: Apache-2.0

package import System
package import VMA

/// An extent in the making, and then on its way out: its header, and clusters as they were read.
package final class PackedExtent: @unchecked Sendable {
  /// The header at the start, then clusters of 64 KiB.
  package let buffer: Buffer
  package private(set) var slots: [Slot] = []
  /// What of the buffer belongs in the archive, header first.
  package private(set) var ranges: [Range<Int>] = []
  private var used = 0

  init() throws {
    buffer = try Buffer(
      capacity: Format.extentHeaderSize + Format.slotsPerExtent * Format.clusterSize)
  }

  func clear() {
    slots.removeAll(keepingCapacity: true)
    ranges.removeAll(keepingCapacity: true)
    ranges.append(0..<Format.extentHeaderSize)
    used = Format.extentHeaderSize
  }

  /// Clusters that it still has slots for.
  package var room: Int { Format.slotsPerExtent - slots.count }
  package var byteCount: Int { ranges.reduce(0) { $0 + $1.count } }

  /// Where the data of the next clusters is to be put, before `add`.
  package func place(for clusterCount: Int) -> Range<Int> {
    used..<used + clusterCount * Format.clusterSize
  }

  /// Adds clusters that are all zeros.
  package func add(zeros clusters: Range<UInt64>, device: UInt8) {
    for cluster in clusters {
      slots.append(Slot(device: device, cluster: UInt32(cluster), mask: 0))
    }
  }

  /// Adds clusters whose data was put in their place; blocks of zeros in it are left out.
  package func add(_ clusters: Range<UInt64>, device: UInt8) {
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
