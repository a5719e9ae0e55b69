// SPDX-License-Identifier: Apache-2.0

/// An extent that still accepts clusters.
struct OpenExtent: Sendable {
  private var clusters: [(slot: ExtentHeader.Slot, position: Int)] = []
  private var isSorted = true
  /// Clusters with blocks, whose data the caller must keep.
  private(set) var heldCount = 0
  /// Whether digests are due after this extent.
  var endsSection = false

  var count: Int { clusters.count }

  mutating func add(_ slot: ExtentHeader.Slot, at position: Int) {
    if let last = clusters.last?.slot, !(last < slot) { isSorted = false }
    clusters.append((slot, position))
    if slot.mask != 0 { heldCount += 1 }
  }

  /// Adds consecutive clusters of zeros.
  mutating func add(zeros numbers: Range<UInt64>, device: UInt8) {
    guard let first = numbers.first else { return }
    add(ExtentHeader.Slot(device: device, cluster: UInt32(first), mask: 0), at: 0)
    for number in numbers.dropFirst() {
      clusters.append((ExtentHeader.Slot(device: device, cluster: UInt32(number), mask: 0), 0))
    }
  }

  /// Sorts the clusters by device and number: the order in which they came leaves no trace.
  mutating func sort() {
    guard !isSorted else { return }
    clusters.sort { $0.slot < $1.slot }
    isSorted = true
  }

  var slots: [ExtentHeader.Slot] { clusters.map(\.slot) }

  /// The blocks in the order of the clusters, as places in the memory of the caller.
  var blocks: [Range<Int>] {
    var blocks: [Range<Int>] = []
    for (slot, position) in clusters {
      slot.mask.forEachRun { run in
        let start = position + run.lowerBound * VMAFormat.blockSize
        let end = position + run.upperBound * VMAFormat.blockSize
        if let last = blocks.last, last.upperBound == start {
          blocks[blocks.count - 1] = last.lowerBound..<end
        } else {
          blocks.append(start..<end)
        }
      }
    }
    return blocks
  }
}

extension ExtentHeader.Slot {
  fileprivate static func < (left: Self, right: Self) -> Bool {
    (left.device, left.cluster) < (right.device, right.cluster)
  }
}
