// SPDX-License-Identifier: Apache-2.0

// Integers have no invalid bits: loading and storing them is safe within the bounds, which each of
// these checks.

extension RawSpan {
  @inlinable @inline(__always)
  public func byte(at offset: Int) -> UInt8 {
    unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
  }

  /// Eight bytes, in the order of this machine.
  @inlinable @inline(__always)
  public func word(at offset: Int) -> UInt64 {
    unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }
}

extension MutableRawSpan {
  @inlinable @inline(__always)
  public mutating func store(_ byte: UInt8, at offset: Int) {
    storeBytes(of: byte, toByteOffset: offset, as: UInt8.self)
  }

  @inlinable @inline(__always)
  public mutating func store(_ word: UInt64, at offset: Int) {
    storeBytes(of: word, toByteOffset: offset, as: UInt64.self)
  }
}

extension Buffer {
  /// Calls `body` with some of the bytes to look at, in any width.
  public func withRawBytes<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try withBytes(range) { (bytes) throws(Failure) in try unsafe body(bytes.bytes) }
  }

  /// Calls `body` with some of the bytes to change, in any width.
  public func withMutableRawBytes<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (inout MutableRawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try withMutableBytes(range) { (bytes) throws(Failure) in
      // A byte can hold any value that is stored.
      var raw = unsafe bytes.mutableBytes
      return try body(&raw)
    }
  }
}
