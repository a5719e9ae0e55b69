// SPDX-License-Identifier: Apache-2.0

/// The bytes that were read from a stream and not used yet.
package struct Window {
  package private(set) var buffer: Buffer
  /// The position of the unused bytes in the buffer.
  package private(set) var unread = 0..<0
  /// The position of the unused bytes in the stream.
  package private(set) var position: UInt64
  package private(set) var isAtEnd = false
  private let slack: Int

  /// - Parameters:
  ///   - capacity: the maximum number of unused bytes, until `fill` requires more.
  ///   - slack: bytes of the buffer that stay free after them.
  ///   - position: of the first byte that is read.
  package init(capacity: Int, slack: Int = 0, position: UInt64 = 0) throws(Failure) {
    buffer = try Buffer(capacity: capacity + slack)
    self.slack = slack
    self.position = position
  }

  /// Unused bytes.
  package var count: Int { unread.count }
  package var isEmpty: Bool { unread.isEmpty }
  package var capacity: Int { buffer.capacity - slack }

  /// Reads until at least `count` bytes are available; the buffer grows if they do not fit.
  ///
  /// - Parameter read: reads into a part of a buffer, and returns 0 at the end of the stream.
  /// - Returns: false if the stream ends before.
  package mutating func fill(
    _ count: Int, from read: (Buffer, Range<Int>) throws -> Int
  ) throws -> Bool {
    if count > capacity {
      let larger = try Buffer(capacity: count + slack)
      larger.copy(from: buffer, unread, to: 0)
      buffer = larger
      unread = 0..<unread.count
    }
    while unread.count < count {
      if isAtEnd { return false }
      if unread.lowerBound > 0 {
        buffer.copy(from: buffer, unread, to: 0)
        unread = 0..<unread.count
      }
      let got = try read(buffer, unread.upperBound..<capacity)
      isAtEnd = got == 0
      unread = 0..<unread.upperBound + got
    }
    return true
  }

  /// Marks the first bytes as used.
  package mutating func drop(_ count: Int) {
    unread = unread.lowerBound + count..<unread.upperBound
    position += UInt64(count)
  }
}
