// SPDX-License-Identifier: Apache-2.0

import System

/// Reads small headers at ascending offsets, a few at a time if they are close together.
final class HeaderReader {
  let access: any RandomAccess
  private let buffer: Buffer
  private var loaded: Range<UInt64> = 0..<0
  /// The offset of the last header.
  private var last: UInt64 = 0

  /// Headers that are closer than this are read together.
  private static let nearness: UInt64 = 4096

  init(_ access: any RandomAccess) throws {
    self.access = access
    buffer = try Buffer(capacity: Int(4 * Self.nearness))
  }

  /// Calls `body` with `count` bytes from an offset on, fewer at the end.
  func read<Result>(
    _ count: Int, at offset: UInt64, _ body: (Span<UInt8>) throws -> Result
  ) throws -> Result {
    if offset < loaded.lowerBound || offset + UInt64(count) > loaded.upperBound {
      let isNear = offset - min(last, offset) < Self.nearness
      let wanted = max(count, isNear ? buffer.capacity : 0)
      let found = try access.read(into: buffer, 0..<wanted, at: offset)
      loaded = offset..<offset + UInt64(found)
    }
    last = offset
    let start = Int(min(offset, loaded.upperBound) - loaded.lowerBound)
    return try buffer.withBytes(
      start..<min(start + count, loaded.count), body)
  }
}
