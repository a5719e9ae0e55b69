// SPDX-License-Identifier: Apache-2.0

import VMA

/// Stored clusters of one device that lie one after another in a file: 16 bytes, however many.
package struct DataRun: Hashable, Comparable, Sendable {
  /// Where the data of the run starts in the file, in bytes.
  package var position: UInt64
  /// The first cluster.
  package var cluster: UInt32
  /// Clusters in the run; more than one only where all their blocks are stored.
  package var clusterCount: UInt16
  /// The stored blocks of the only cluster, or all ones.
  package var mask: UInt16

  /// Bytes in the file.
  package var length: Int { Int(clusterCount) * mask.nonzeroBitCount * VMAFormat.blockSize }
  /// The cluster after the run.
  package var end: UInt64 { UInt64(cluster) + UInt64(clusterCount) }
  /// The extent header that would go with the run, to take it apart by.
  func pieces(_ body: (ExtentHeader.Piece) throws -> Void) rethrows {
    let slots = (0..<UInt32(clusterCount)).map {
      ExtentHeader.Slot(device: 1, cluster: cluster + $0, mask: mask)
    }
    for start in stride(from: 0, to: slots.count, by: VMAFormat.slotsPerExtent) {
      let part = slots[start..<min(start + VMAFormat.slotsPerExtent, slots.count)]
      let before = start * mask.nonzeroBitCount * VMAFormat.blockSize
      try ExtentHeader(checked: Array(part)).forEachPiece { piece in
        guard var place = piece.position else { return }
        place += before
        try body(
          ExtentHeader.Piece(device: 1, offset: piece.offset, length: piece.length, position: place)
        )
      }
    }
  }

  package static func < (left: DataRun, right: DataRun) -> Bool {
    left.cluster < right.cluster
  }
}
