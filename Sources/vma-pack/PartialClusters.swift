// SPDX-License-Identifier: Apache-2.0

import ChangedBlocks
import Files
import System
import VMA

/// Clusters of which only some sectors have arrived: a few in memory, the rest in a file.
final class PartialClusters {
  /// Bit n set: sector n of the cluster (512 bytes each) is present.
  typealias SectorMap = UInt128

  struct Key: Hashable {
    var device: UInt8
    var cluster: UInt64
  }

  private struct Held {
    var place: Int
    var map: SectorMap
    /// Its slot in the file, if it was moved there before.
    var slot: UInt64?
  }

  private let directory: String?
  private let memory: Buffer
  private var freePlaces: [Int]
  private var held: [Key: Held] = [:]
  private var file: ClusterFile?

  /// - Parameters:
  ///   - directory: of the file, see `Descriptor.temporary`.
  ///   - heldCount: the number of clusters in memory.
  init(directory: String?, heldCount: Int) throws {
    self.directory = directory
    memory = try Buffer(capacity: heldCount * VMAFormat.clusterSize)
    freePlaces = (0..<heldCount).map { $0 * VMAFormat.clusterSize }
  }

  /// The sectors of a range of bytes within a cluster.
  static func sectors(_ range: Range<Int>) -> SectorMap {
    let (first, end) = (range.lowerBound / 512, range.upperBound / 512)
    let below: SectorMap = end == 128 ? .max : (1 << SectorMap(end)) - 1
    return below & ~((1 << SectorMap(first)) - 1)
  }

  /// The sectors of a cluster that have arrived.
  func map(device: UInt8, cluster: UInt64) throws -> SectorMap {
    let key = Key(device: device, cluster: cluster)
    return try held[key]?.map ?? file?.entry(key)?.map ?? 0
  }

  /// Whether any sector of a cluster has arrived.
  func contains(device: UInt8, cluster: UInt64) throws -> Bool {
    let key = Key(device: device, cluster: cluster)
    return try held[key] != nil || file?.entry(key) != nil
  }

  /// Adds sectors. The first record wins: existing sectors are kept.
  ///
  /// - Parameters:
  ///   - range: bytes within the cluster.
  ///   - source: a buffer, and the offset of the bytes in it; nil for zeros.
  /// - Returns: all sectors that are present now.
  func merge(
    device: UInt8, cluster: UInt64, _ range: Range<Int>, from source: (Buffer, Int)?
  ) throws -> SectorMap {
    let key = Key(device: device, cluster: cluster)
    var entry = try hold(key)
    let new = Self.sectors(range) & ~entry.map
    new.forEachRun { sectors in
      let (place, length) = (sectors.lowerBound * 512, sectors.count * 512)
      let target = entry.place + place
      if let (buffer, start) = source {
        let first = start + place - range.lowerBound
        memory.copy(from: buffer, first..<first + length, to: target)
      } else {
        memory.fillWithZeros(target..<target + length)
      }
    }
    entry.map |= new
    held[key] = entry
    return entry.map
  }

  /// Copies the present sectors over a cluster elsewhere, and removes the cluster.
  func take(device: UInt8, cluster: UInt64, into buffer: Buffer, at start: Int) throws {
    let key = Key(device: device, cluster: cluster)
    let entry = try hold(key)
    for sector in 0..<128 where entry.map >> SectorMap(sector) & 1 == 1 {
      let first = entry.place + sector * 512
      buffer.copy(from: memory, first..<first + 512, to: start + sector * 512)
    }
    held[key] = nil
    freePlaces.append(entry.place)
    if let slot = entry.slot { try file?.remove(key, slot: slot) }
  }

  /// Loads a cluster into memory; another one may be moved to the file.
  private func hold(_ key: Key) throws -> Held {
    if let entry = held[key] { return entry }
    if freePlaces.isEmpty, let other = held.first {
      try spill(other.key, other.value)
      held[other.key] = nil
      freePlaces.append(other.value.place)
    }
    let place = freePlaces.removeLast()
    var entry = Held(place: place, map: 0)
    if let file, let found = try file.entry(key) {
      try file.load(found, into: memory, at: place)
      entry.map = found.map
      entry.slot = found.slot
    }
    held[key] = entry
    return entry
  }

  private func spill(_ key: Key, _ entry: Held) throws {
    let file = try self.file ?? ClusterFile(directory: directory)
    self.file = file
    _ = try file.store(key, entry.map, slot: entry.slot, from: memory, at: entry.place)
  }
}
