// SPDX-License-Identifier: Apache-2.0

// Integers have no invalid bits, so loading and storing them is safe within the bounds, which each
// of these functions checks.

extension RawSpan {
  @inlinable @inline(__always)
  package func byte(at offset: Int) -> UInt8 {
    unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
  }

  /// Eight bytes, in the machine's byte order.
  @inlinable @inline(__always)
  package func word(at offset: Int) -> UInt64 {
    unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }
}

extension MutableRawSpan {
  @inlinable @inline(__always)
  package mutating func store(_ byte: UInt8, at offset: Int) {
    storeBytes(of: byte, toByteOffset: offset, as: UInt8.self)
  }

  @inlinable @inline(__always)
  package mutating func store(_ word: UInt64, at offset: Int) {
    storeBytes(of: word, toByteOffset: offset, as: UInt64.self)
  }
}
