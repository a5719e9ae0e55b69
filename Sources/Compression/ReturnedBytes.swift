// SPDX-License-Identifier: Apache-2.0

import System

/// A source to which bytes can be returned that were read from it too early.
///
/// One thread uses it at a time.
final class ReturnedBytes: ByteSource, @unchecked Sendable {
  private let source: (any ByteSource)?
  private var returned: (buffer: Buffer, range: Range<Int>)?
  private var failure: (any Error)?

  /// - Parameter source: nil if there are only the returned bytes.
  init(_ source: (any ByteSource)?) {
    self.source = source
  }

  /// Whether all returned bytes were read again.
  var isEmpty: Bool { returned == nil }

  /// Returns bytes when all bytes returned before were read again.
  ///
  /// - Parameter failure: is thrown after these bytes, as it was when they were read first.
  func giveBack(_ buffer: Buffer, _ range: Range<Int>, failure: (any Error)? = nil) {
    returned = range.isEmpty ? nil : (buffer, range)
    self.failure = failure
  }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    if let (bytes, rest) = returned {
      let part = rest.prefix(range.count)
      buffer.copy(from: bytes, part, to: range.lowerBound)
      let next = part.upperBound..<rest.upperBound
      returned = next.isEmpty ? nil : (bytes, next)
      return part.count
    }
    if let failure { throw failure }
    return try source?.read(into: buffer, range) ?? 0
  }
}
