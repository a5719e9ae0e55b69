// SPDX-License-Identifier: Apache-2.0

package import System

/// The destination of a restored disk, which receives its pieces in any order.
package protocol DiskTarget: AnyObject {
  /// Writes stored data.
  func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws
  /// Zeros this part of the disk.
  func zero(_ range: Range<UInt64>) throws
  /// Reads what was written, and zeros elsewhere.
  ///
  /// - Returns: false if the target cannot be read.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Bool
  /// All data has arrived; the disk has this length.
  func finish(length: UInt64) throws
  /// Whether previous data of the target may be changed already.
  var hasChanged: Bool { get }
}
