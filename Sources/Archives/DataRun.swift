// SPDX-License-Identifier: Apache-2.0

import VMA

/// Stored clusters of one device that are consecutive in a file: 16 bytes, whatever their number.
package struct DataRun: Hashable, Comparable, Sendable {
  /// Where the data of the run starts in the file, in bytes.
  package var position: UInt64
  /// The first cluster.
  package var cluster: UInt32
  /// The number of clusters in the run; more than one only if all their blocks are stored.
  package var clusterCount: UInt16
  /// The stored blocks of the only cluster, or all ones.
  package var mask: UInt16

  /// Its size in the file.
  package var length: Int { Int(clusterCount) * mask.nonzeroBitCount * VMAFormat.blockSize }
  /// The cluster after the run.
  package var end: UInt64 { UInt64(cluster) + UInt64(clusterCount) }

  /// Calls `body` with each stored piece, ascending: its place on the disk, its place in the data of
  /// the run, and its length, all in bytes.
  func forEachPiece(
    _ body: (_ offset: UInt64, _ position: Int, _ length: Int) throws -> Void
  ) rethrows {
    let start = UInt64(cluster) * UInt64(VMAFormat.clusterSize)
    if mask == .max { return try body(start, 0, length) }
    var position = 0
    try mask.forEachRun { run in
      let length = run.count * VMAFormat.blockSize
      try body(start + UInt64(run.lowerBound * VMAFormat.blockSize), position, length)
      position += length
    }
  }

  package static func < (left: DataRun, right: DataRun) -> Bool {
    left.cluster < right.cluster
  }
}
