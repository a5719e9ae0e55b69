// SPDX-License-Identifier: Apache-2.0

package import System
package import VMA

/// An extent to be written: its header, and clusters as they were read.
package final class PackedExtent: @unchecked Sendable {
  /// Contains the clusters, and the headers of all extents.
  package let buffer: Buffer
  package private(set) var header = ExtentHeader()
  /// The ranges of the buffer that belong in the archive, header first.
  package private(set) var ranges: [Range<Int>] = []
  private let headerStart: Int

  /// - Parameter headerStart: where the buffer has space for the header.
  init(_ buffer: Buffer, headerStart: Int) {
    self.buffer = buffer
    self.headerStart = headerStart
  }

  package var byteCount: Int { VMAFormat.extentHeaderSize + header.dataSize }

  func fill(_ extent: ArchiveBuilder.Extent) {
    header = extent.header
    buffer.copy(extent.headerBytes, to: headerStart)
    ranges = [headerStart..<headerStart + VMAFormat.extentHeaderSize] + extent.blocks
  }

  /// The positions of its clusters in the buffer.
  var clusterPositions: [Int] {
    var positions: [Int] = []
    for range in ranges.dropFirst() {
      let size = VMAFormat.clusterSize
      let first = range.lowerBound / size * size
      // Several ranges can be in one cluster.
      for position in stride(from: first, to: range.upperBound, by: size)
      where positions.last != position { positions.append(position) }
    }
    return positions
  }
}
