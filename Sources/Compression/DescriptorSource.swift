// SPDX-License-Identifier: Apache-2.0

package import System

/// The bytes of a descriptor, after some bytes that were already read from it.
package final class DescriptorSource: ByteSource, @unchecked Sendable {
  private let descriptor: Descriptor
  private var prefix: ArraySlice<UInt8>

  /// - Parameter prefix: bytes that were already read, returned first.
  package init(_ descriptor: Descriptor, prefix: [UInt8] = []) {
    self.descriptor = descriptor
    self.prefix = prefix[...]
    descriptor.adviseSequential()
    descriptor.widenPipe()
  }

  package func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    let count: Int
    if prefix.isEmpty {
      count = try descriptor.read(into: buffer, range)
    } else {
      let part = prefix.prefix(range.count)
      buffer.copy(Array(part), to: range.lowerBound)
      prefix = prefix.dropFirst(part.count)
      count = part.count
    }
    Progress.current.add(UInt64(count))
    return count
  }
}
