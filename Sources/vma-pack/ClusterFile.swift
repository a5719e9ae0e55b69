// SPDX-License-Identifier: Apache-2.0

import Files
import System
import VMA

/// Clusters in an unlinked file, each with a map of its sectors.
///
/// The file consists of slots of one cluster each, allocated on demand: its size depends on the
/// waiting data, not on the devices, which may be larger than any file can be. A slot contains a
/// cluster, or a page of entries that locate 2048 adjacent clusters of a device. In memory there is
/// one number for each page.
final class ClusterFile {
  struct Entry {
    var slot: UInt64
    var map: PartialClusters.SectorMap
  }

  private static let slotSize = UInt64(VMAFormat.clusterSize)
  /// Bytes of an entry: the sector map, the slot (0: none), and zeros.
  private static let entrySize = 32
  private static let entriesPerPage = slotSize / UInt64(entrySize)
  /// The maximum number of free slots that are reused. The space of others is freed, too, but the
  /// file grows instead.
  private static let mostFreeSlots = 1 << 16

  private let file: Descriptor
  private let scratch: Buffer
  private var pages: [PartialClusters.Key: UInt64] = [:]
  private var freeSlots: [UInt64] = []
  /// The slot after the last one; slot 0 is not used.
  private var end: UInt64 = 1

  /// - Parameter directory: of the file, see `Descriptor.temporary`.
  init(directory: String?) throws {
    scratch = try Buffer(capacity: Self.entrySize)
    file = try .temporary(in: directory)
  }

  /// What the file contains of a cluster; nil for nothing.
  func entry(_ key: PartialClusters.Key) throws -> Entry? {
    guard let page = pages[Self.pageKey(key)] else { return nil }
    // The end of the last page may not be written yet.
    scratch.fillWithZeros(0..<Self.entrySize)
    _ = try file.read(into: scratch, 0..<Self.entrySize, at: Self.place(of: key, in: page))
    let slot = scratch.word(2)
    let map = UInt128(scratch.word(1)) << 64 | UInt128(scratch.word(0))
    return slot == 0 ? nil : Entry(slot: slot, map: map)
  }

  func load(_ entry: Entry, into buffer: Buffer, at start: Int) throws {
    let range = start..<start + VMAFormat.clusterSize
    guard try file.read(into: buffer, range, at: entry.slot * Self.slotSize) == range.count else {
      throw Failure(.inputOutput, "\(file.name): became shorter while it was read")
    }
  }

  /// Writes a cluster, to its existing slot if it has one.
  ///
  /// - Returns: its slot.
  func store(
    _ key: PartialClusters.Key, _ map: PartialClusters.SectorMap, slot: UInt64?,
    from buffer: Buffer, at start: Int
  ) throws -> UInt64 {
    let slot = slot ?? freeSlots.popLast() ?? newSlot()
    try file.write(buffer, start..<start + VMAFormat.clusterSize, at: slot * Self.slotSize)
    try write(Entry(slot: slot, map: map), of: key)
    return slot
  }

  /// Removes a cluster and frees its space.
  func remove(_ key: PartialClusters.Key, slot: UInt64) throws {
    try write(Entry(slot: 0, map: 0), of: key)
    _ = file.punchHole(slot * Self.slotSize..<(slot + 1) * Self.slotSize)
    if freeSlots.count < Self.mostFreeSlots { freeSlots.append(slot) }
  }

  private func write(_ entry: Entry, of key: PartialClusters.Key) throws {
    let page: UInt64
    if let known = pages[Self.pageKey(key)] {
      page = known
    } else {
      // A new slot, which reads as zeros.
      page = newSlot()
      pages[Self.pageKey(key)] = page
    }
    scratch.setWord(0, UInt64(truncatingIfNeeded: entry.map))
    scratch.setWord(1, UInt64(truncatingIfNeeded: entry.map >> 64))
    scratch.setWord(2, entry.slot)
    scratch.setWord(3, 0)
    try file.write(scratch, 0..<Self.entrySize, at: Self.place(of: key, in: page))
  }

  private func newSlot() -> UInt64 {
    defer { end += 1 }
    return end
  }

  private static func pageKey(_ key: PartialClusters.Key) -> PartialClusters.Key {
    PartialClusters.Key(device: key.device, cluster: key.cluster / entriesPerPage)
  }

  private static func place(of key: PartialClusters.Key, in page: UInt64) -> UInt64 {
    page * slotSize + key.cluster % entriesPerPage * UInt64(entrySize)
  }
}
