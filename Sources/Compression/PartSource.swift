// SPDX-License-Identifier: Apache-2.0

package import System

/// A part of some data, read sequentially on the caller's thread, after a prefix.
package final class PartSource: ByteSource, @unchecked Sendable {
  private let data: any RandomAccess
  private var rest: Range<UInt64>
  private var prefix: ArraySlice<UInt8>

  package init(_ data: any RandomAccess, _ range: Range<UInt64>, prefix: [UInt8] = []) {
    self.data = data
    rest = range
    self.prefix = prefix[...]
  }

  package func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    guard prefix.isEmpty else {
      let part = prefix.prefix(range.count)
      buffer.copy(Array(part), to: range.lowerBound)
      prefix = prefix.dropFirst(part.count)
      return part.count
    }
    let wanted = Int(min(UInt64(range.count), UInt64(rest.count)))
    guard wanted > 0 else { return 0 }
    let count = try data.read(
      into: buffer, range.lowerBound..<range.lowerBound + wanted, at: rest.lowerBound)
    rest = rest.lowerBound + UInt64(count)..<rest.upperBound
    return count
  }
}
