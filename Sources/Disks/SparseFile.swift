// SPDX-License-Identifier: Apache-2.0

package import Files
package import System

/// A new sparse file: zeros are not written.
package final class SparseFile: DiskTarget {
  package let file: PendingFile

  /// - Parameter size: its minimum size; nil if unknown.
  /// - Throws: status 73 if it does not fit in the file system.
  package init(_ file: PendingFile, size: UInt64?) throws {
    self.file = file
    if let size { try file.descriptor.presetSize(size) }
  }

  package func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    try file.descriptor.write(buffer, range, at: offset)
  }

  package func zero(_ range: Range<UInt64>) {}

  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Bool {
    buffer.fillWithZeros(range)
    _ = try file.descriptor.read(into: buffer, range, at: offset)
    return true
  }

  package func finish(length: UInt64) throws {
    try file.descriptor.truncate(to: length)
  }

  package var hasChanged: Bool { false }
}
