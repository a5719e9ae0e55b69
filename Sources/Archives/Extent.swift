// SPDX-License-Identifier: Apache-2.0

package import System
package import VMA

/// An extent of an archive, in memory.
package final class Extent: @unchecked Sendable {
  package internal(set) var header = ExtentHeader()
  /// Whether the buffer contains the blocks.
  var isLoaded = true
  /// The blocks, from the start of the buffer; after them there is space for one extent header.
  package let buffer: Buffer

  init() throws {
    buffer = try Buffer(
      capacity: VMAFormat.blocksPerExtent * VMAFormat.blockSize + VMAFormat.extentHeaderSize)
  }
}
