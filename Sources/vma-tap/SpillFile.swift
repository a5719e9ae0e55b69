// SPDX-License-Identifier: Apache-2.0

import Files
package import System
import VMA

/// Stores clusters that do not fit in memory: slots of one cluster each.
package protocol SpillStorage: Sendable {
  /// For messages: `spill file in /var/tmp`.
  var name: String { get }
  /// The maximum size in bytes.
  var limit: UInt64 { get }
  /// Writes a cluster to a slot.
  ///
  /// - Throws: if there is not enough space, or the storage fails. The content of the slot is then
  ///   undefined.
  func write(_ buffer: Buffer, _ range: Range<Int>, toSlot slot: Int) throws(Failure)
  /// Reads a cluster back.
  func read(into buffer: Buffer, _ range: Range<Int>, fromSlot slot: Int) throws(Failure)
  /// Returns the space of a slot to the file system, if possible.
  func free(slot: Int)
  /// Returns all space.
  func clear()
}

/// An unlinked file that always leaves some space in its file system.
final class SpillFile: SpillStorage, @unchecked Sendable {
  /// Space that stays free: this many bytes, or 5 % of the file system if that is more.
  private static let reserve: UInt64 = 1 << 30
  /// Slots written between two checks of the free space.
  private static let allowance = 16

  let limit: UInt64
  var name: String { file.name }
  private let file: Descriptor
  /// Only for the thread that writes.
  private var allowance = 0

  /// - Parameter directory: if nil, `$TMPDIR`, or else `/var/tmp`.
  /// - Throws: status 73 if no file can be created there.
  init(in directory: String?, limit: UInt64) throws {
    self.limit = limit
    file = try .temporary(in: directory, called: "spill file")
  }

  /// Whether the file system has enough free space.
  func hasSpace() throws(Failure) -> Bool {
    guard let space = try file.fileSystemSpace() else { return true }
    let size = UInt64(Self.allowance * VMAFormat.clusterSize)
    return space.free >= max(Self.reserve, space.size / 20) + size
  }

  func write(_ buffer: Buffer, _ range: Range<Int>, toSlot slot: Int) throws(Failure) {
    if allowance == 0 {
      guard try hasSpace() else {
        throw Failure(
          .inputOutput, "\(name): less than 1 GiB or 5 % of the file system would be free")
      }
      allowance = Self.allowance
    }
    allowance -= 1
    try file.write(buffer, range, at: UInt64(slot * VMAFormat.clusterSize))
  }

  func read(into buffer: Buffer, _ range: Range<Int>, fromSlot slot: Int) throws(Failure) {
    guard
      try file.read(into: buffer, range, at: UInt64(slot * VMAFormat.clusterSize)) == range.count
    else { throw Failure(.inputOutput, "\(name): another process has truncated it") }
  }

  func free(slot: Int) {
    let start = UInt64(slot * VMAFormat.clusterSize)
    // If the file system cannot free it, the slot is reused all the same.
    _ = file.punchHole(start..<start + UInt64(VMAFormat.clusterSize))
  }

  func clear() {
    // The space is freed when the process ends, at the latest.
    try? file.truncate(to: 0)
  }
}
