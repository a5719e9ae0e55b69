// SPDX-License-Identifier: Apache-2.0

import Compression
import System

/// Bytes in memory, read at any offset or sequentially.
final class MemoryBytes: RandomAccess, ByteSource, @unchecked Sendable {
  let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var name: String { "memory" }
  var size: UInt64 { UInt64(bytes.count) }

  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) -> Int {
    guard offset < size else { return 0 }
    let part = bytes[Int(offset)...].prefix(range.count)
    buffer.copy(Array(part), to: range.lowerBound)
    return part.count
  }

  func read(into buffer: Buffer, _ range: Range<Int>) -> Int {
    let count = read(into: buffer, range, at: UInt64(position))
    position += count
    return count
  }
}
