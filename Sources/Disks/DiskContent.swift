// SPDX-License-Identifier: Apache-2.0

import System

/// The bytes of a disk, read sequentially, or in any order if the disk is live.
protocol DiskContent: AnyObject, Sendable {
  /// Its name in messages.
  var name: String { get }
  /// Its size in bytes when the run began.
  var size: UInt64 { get }
  /// The first range of data at or after `offset`, in bytes; everything before it is zeros. Nil if
  /// only zeros remain.
  func data(from offset: UInt64) throws -> Range<UInt64>?
  /// Reads at `offset`; returns fewer bytes only at the end.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int
  /// Checks, once everything is read, that the size is exactly `size`.
  func checkEnd() throws
  /// The archive is complete and has its final name.
  func close()
}

extension DiskContent {
  func checkEnd() {}
  func close() {}
}
