// SPDX-License-Identifier: Apache-2.0

import System

/// Bytes without up to 511 zeros at their end. If the zeros are data, the data seems to be truncated.
final class BytesBeforePadding: RandomAccess {
  private let bytes: any RandomAccess
  let size: UInt64

  init(_ bytes: any RandomAccess) throws {
    self.bytes = bytes
    let buffer = try Buffer(capacity: 511)
    let start = bytes.size - min(bytes.size, UInt64(buffer.capacity))
    let count = try bytes.read(into: buffer, 0..<buffer.capacity, at: start)
    let used = buffer.withBytes(0..<count) { tail in tail.indices.last { tail[$0] != 0 } }
    size = start + UInt64(used.map { $0 + 1 } ?? 0)
  }

  var name: String { bytes.name }

  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    let count = Int(min(UInt64(range.count), size - min(size, offset)))
    return try bytes.read(into: buffer, range.lowerBound..<range.lowerBound + count, at: offset)
  }
}
