// SPDX-License-Identifier: Apache-2.0

package import System
package import VMA

/// An extent to be filled and then written: its header, and clusters as they were read.
package final class PackedExtent: @unchecked Sendable {
  /// The header at the start, then clusters of 64 KiB.
  package let buffer: Buffer
  package private(set) var header = ExtentHeader()
  /// The ranges of the buffer that belong in the archive, header first.
  package private(set) var ranges: [Range<Int>] = []
  private var used = VMAFormat.extentHeaderSize

  init() throws {
    buffer = try Buffer(
      capacity: VMAFormat.extentHeaderSize + VMAFormat.slotsPerExtent * VMAFormat.clusterSize)
  }

  func clear() { used = VMAFormat.extentHeaderSize }

  package var byteCount: Int { VMAFormat.extentHeaderSize + header.dataSize }

  /// Where to put the data of the next clusters, before they are added.
  package func place(for clusterCount: Int) -> Range<Int> {
    used..<used + clusterCount * VMAFormat.clusterSize
  }

  /// Keeps the next cluster, whose data is in its place.
  ///
  /// - Returns: where it is, and which of its blocks are not all zeros.
  func keepCluster() -> (position: Int, mask: UInt16) {
    let position = used
    var mask: UInt16 = 0
    for block in 0..<VMAFormat.blocksPerCluster {
      let start = position + block * VMAFormat.blockSize
      if !buffer.isZero(start..<start + VMAFormat.blockSize) { mask |= 1 << UInt16(block) }
    }
    used += VMAFormat.clusterSize
    return (position, mask)
  }

  /// - Parameter extent: of the clusters that were kept.
  func finish(_ extent: ArchiveBuilder.Extent) {
    header = extent.header
    buffer.copy(extent.headerBytes, to: 0)
    ranges = [0..<VMAFormat.extentHeaderSize] + extent.blocks
  }
}
