// SPDX-License-Identifier: Apache-2.0

import Compression
import Synchronization
import System

/// Bytes in memory, read at any offset; counts what is read.
final class MemoryBytes: RandomAccess {
  let bytes: [UInt8]
  private let count = Mutex(0)

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var name: String { "memory" }
  var size: UInt64 { UInt64(bytes.count) }
  /// Bytes that were read.
  var readCount: Int { count.withLock { $0 } }

  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) -> Int {
    guard offset < size else { return 0 }
    let part = bytes[Int(offset)...].prefix(range.count)
    buffer.copy(Array(part), to: range.lowerBound)
    count.withLock { $0 += part.count }
    return part.count
  }
}

extension RandomAccess {
  /// All bytes, in reads of a size.
  func contents(readSize: Int = 100_000) throws -> [UInt8] {
    let buffer = try Buffer(capacity: readSize)
    var found: [UInt8] = []
    while true {
      let count = try read(into: buffer, 0..<readSize, at: UInt64(found.count))
      if count == 0 { return found }
      found += buffer.array(0..<count)
    }
  }

  /// Some bytes, fewer at the end.
  func contents(_ range: Range<Int>) throws -> [UInt8] {
    let buffer = try Buffer(capacity: range.count)
    let count = try read(into: buffer, 0..<range.count, at: UInt64(range.lowerBound))
    return buffer.array(0..<count)
  }
}

extension Buffer {
  fileprivate func array(_ range: Range<Int>) -> [UInt8] {
    unsafe withPointer(range) { unsafe Array($0) }
  }
}
