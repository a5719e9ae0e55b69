// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import SystemPackage

/// A page-aligned block of memory that is allocated once and reused.
///
/// A buffer has one owner at a time. Threads pass it on through a `Channel`, which makes it safe to
/// send.
@safe package final class Buffer: @unchecked Sendable {
  package let capacity: Int
  private let base: UnsafeMutableRawPointer
  private let isMapped: Bool

  /// - Parameter capacity: bytes, all zero at first; untouched pages take no memory.
  /// - Throws: status 1 if the system has no memory left for this process.
  package init(capacity: Int) throws(Failure) {
    self.capacity = capacity
    var base: UnsafeMutableRawPointer?
    do throws(Errno) {
      // The address, and -1 if there is none.
      try SystemCall.mmap.retry {
        unsafe base = unsafe mmap(
          nil, max(capacity, 1), PROT_READ | PROT_WRITE,
          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        return Int(bitPattern: base)
      }
      guard let base = unsafe base else { throw .noMemory }
      unsafe self.base = unsafe base
    } catch {
      throw Failure(.general, "cannot allocate \(ByteCount(UInt64(capacity)))", error)
    }
    isMapped = true
  }

  /// Memory that others allocate and release.
  private init(over base: UnsafeMutableRawPointer, capacity: Int) {
    self.capacity = capacity
    unsafe self.base = unsafe base
    isMapped = false
  }

  /// Calls `body` with a buffer over memory of a library. It must not be used after that.
  @unsafe package static func withBuffer<Result>(
    over memory: UnsafeMutableRawBufferPointer, _ body: (Buffer) throws -> Result
  ) rethrows -> Result {
    guard let base = memory.baseAddress else { return try body(zeros) }
    return try unsafe body(Buffer(over: base, capacity: memory.count))
  }

  /// 1 MiB of zeros, read-only. They are part of the program, so they are always available.
  package static let zeros = unsafe Buffer(over: linux_zeros(), capacity: Int(linux_zeros_size))

  deinit {
    if isMapped { unsafe munmap(base, max(capacity, 1)) }
  }

  private func check(_ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= capacity)
  }

  /// Calls `body` with some of the bytes.
  @unsafe package func withPointer<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    check(range)
    return try unsafe body(
      UnsafeMutableRawBufferPointer(start: base + range.lowerBound, count: range.count))
  }

  /// Calls `body` with some of the bytes, for reading.
  package func withBytes<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (Span<UInt8>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    check(range)
    let bytes = unsafe UnsafeBufferPointer(
      start: (base + range.lowerBound).assumingMemoryBound(to: UInt8.self), count: range.count)
    return try unsafe body(bytes.span)
  }

  /// Calls `body` with some of the bytes, for writing.
  package func withMutableBytes<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (inout MutableSpan<UInt8>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    check(range)
    let bytes = unsafe UnsafeMutableBufferPointer(
      start: (base + range.lowerBound).assumingMemoryBound(to: UInt8.self), count: range.count)
    var span = unsafe bytes.mutableSpan
    return try body(&span)
  }

  /// Calls `body` with some of the bytes, for reading, in any width.
  package func withRawBytes<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try withBytes(range) { (bytes) throws(Failure) in try unsafe body(bytes.bytes) }
  }

  /// Calls `body` with some of the bytes, for writing, in any width.
  package func withMutableRawBytes<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (inout MutableRawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try withMutableBytes(range) { (bytes) throws(Failure) in
      // A byte can hold any value that is stored.
      var raw = unsafe bytes.mutableBytes
      return try body(&raw)
    }
  }

  /// Copies bytes from another buffer, or from elsewhere in this one.
  package func copy(from other: Buffer, _ range: Range<Int>, to offset: Int) {
    other.check(range)
    check(offset..<offset + range.count)
    unsafe memmove(base + offset, other.base + range.lowerBound, range.count)
  }

  package func copy(_ bytes: [UInt8], to offset: Int) {
    check(offset..<offset + bytes.count)
    unsafe bytes.withUnsafeBytes { bytes in
      guard let source = bytes.baseAddress else { return }
      unsafe memcpy(base + offset, source, bytes.count)
    }
  }

  package func fillWithZeros(_ range: Range<Int>) {
    check(range)
    unsafe memset(base + range.lowerBound, 0, range.count)
  }

  /// Whether all these bytes are zero; `range` must not be empty.
  ///
  /// The bytes are compared with themselves, shifted by one word: memcmp(3) uses the full width of
  /// the machine and stops at the first difference, which is usually near.
  package func isZero(_ range: Range<Int>) -> Bool {
    check(range)
    let start = unsafe base + range.lowerBound
    guard range.count >= 8 else {
      return unsafe UnsafeRawBufferPointer(start: start, count: range.count).allSatisfy { $0 == 0 }
    }
    return unsafe start.loadUnaligned(as: UInt64.self) == 0
      && memcmp(start, start + 8, range.count - 8) == 0
  }

  /// Whether these bytes equal those of another buffer from `offset` on.
  package func isEqual(_ range: Range<Int>, to other: Buffer, at offset: Int) -> Bool {
    check(range)
    other.check(offset..<offset + range.count)
    return unsafe memcmp(base + range.lowerBound, other.base + offset, range.count) == 0
  }

  /// The position of the first `needle` in a range that has `other` at the given distance, too; nil
  /// if none has.
  package func firstIndex(
    of needle: [UInt8], with other: [UInt8], at distance: Int, in range: Range<Int>
  ) -> Int? {
    check(range)
    var start = range.lowerBound
    while start < range.upperBound,
      let place = firstIndex(of: needle, in: start..<range.upperBound)
    {
      let first = place + distance
      let isThere = first >= 0 && first + other.count <= capacity
      if isThere, unsafe memcmp(base + first, other, other.count) == 0 { return place }
      start = place + 1
    }
    return nil
  }

  /// The position of the first `needle` in `range`; nil if it does not contain one.
  package func firstIndex(of needle: [UInt8], in range: Range<Int>) -> Int? {
    check(range)
    return unsafe needle.withUnsafeBytes { needle -> Int? in
      guard
        let found = unsafe linux_memmem(
          base + range.lowerBound, range.count, needle.baseAddress, needle.count)
      else { return nil }
      return unsafe found - UnsafeRawPointer(base)
    }
  }
}
