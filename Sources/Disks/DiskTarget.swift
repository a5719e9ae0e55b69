// SPDX-License-Identifier: Apache-2.0

package import System

/// Where a restored disk goes, its pieces in any order.
package protocol DiskTarget: AnyObject {
  /// Writes stored data.
  func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws
  /// Makes this part of the disk zeros.
  func zero(_ range: Range<UInt64>) throws
  /// Reads what was written, zeros where nothing was.
  ///
  /// - Returns: false where the target cannot be read.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Bool
  /// All has come; the disk is this long.
  func finish(length: UInt64) throws
  /// Whether something that was there before may be changed already.
  var hasChanged: Bool { get }
}
