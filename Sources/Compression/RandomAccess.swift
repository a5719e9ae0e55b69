// SPDX-License-Identifier: Apache-2.0

package import System

/// Bytes that can be read at any offset, by several threads at the same time.
package protocol RandomAccess: AnyObject, Sendable {
  /// For messages.
  var name: String { get }
  /// In bytes; it does not change.
  var size: UInt64 { get }

  /// Reads bytes at an offset; fewer than requested only at the end.
  ///
  /// - Throws: `Failure` 74 if reading fails, 65 if the data is damaged.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int

  /// Bytes from an offset on that cost no more than the first of them.
  func contiguous(from offset: UInt64) -> UInt64
}

extension RandomAccess {
  package func contiguous(from offset: UInt64) -> UInt64 { size - min(offset, size) }
}
