// SPDX-License-Identifier: Apache-2.0

package import System

/// The bytes of a regular file or block device.
package final class FileBytes: RandomAccess {
  private let descriptor: Descriptor
  package let size: UInt64

  package init(_ descriptor: Descriptor) throws {
    self.descriptor = descriptor
    size = try descriptor.size()
  }

  package var name: String { descriptor.name }

  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    try descriptor.read(into: buffer, range, at: offset)
  }
}
