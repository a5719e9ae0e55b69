// SPDX-License-Identifier: Apache-2.0

import System

/// What the bytes of a disk are read from: front to back, and those of a live disk in any order.
protocol DiskContent: AnyObject, Sendable {
  /// As it is called in messages.
  var name: String { get }
  /// Bytes, when the run began.
  var size: UInt64 { get }
  /// The first range of data at or after `offset`, in bytes; what is before it is zeros. Nil where
  /// only zeros are left.
  func data(from offset: UInt64) throws -> Range<UInt64>?
  /// Reads at `offset`; returns fewer bytes only at the end.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int
  /// Checks, when all was read, that there was neither more nor less than `size`.
  func checkEnd() throws
  /// The archive is complete and in its place.
  func close()
}

extension DiskContent {
  func checkEnd() {}
  func close() {}
}
