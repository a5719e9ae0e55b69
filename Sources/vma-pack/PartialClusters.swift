// SPDX-License-Identifier: Apache-2.0

import ChangedBlocks
import Files
import System
import VMA

/// Clusters of which only some sectors were told so far: a few in memory, the rest in an unlinked
/// sparse file for each device, each cluster at its own place with its sector map behind it. In
/// memory, those in the file take one bit each.
final class PartialClusters {
  /// Bit n set: sector n of the cluster (512 bytes each) is there.
  typealias SectorMap = UInt128

  private struct Key: Hashable {
    var device: UInt8
    var cluster: UInt64
  }

  private struct Held {
    var place: Int
    var map: SectorMap
  }

  private struct Spill {
    var file: Descriptor
    /// Clusters that are, or once were, in the file.
    var clusters: ClusterSet
  }

  /// Bytes of a cluster in the file: its data, its map, and nothing else up to the next sector.
  private static let stride = UInt64(Format.clusterSize + 512)

  private let directory: String?
  private let memory: Buffer
  private var freePlaces: [Int]
  private var held: [Key: Held] = [:]
  private var spills: [UInt8: Spill] = [:]
  private let mapBuffer: Buffer
  private let deviceClusters: [UInt8: UInt64]

  /// - Parameters:
  ///   - sizes: of each device, in clusters, where a bit for each of them is not too much.
  ///   - directory: of the files, see `Descriptor.temporary`.
  ///   - heldCount: clusters in memory.
  init(sizes: [UInt8: UInt64], directory: String?, heldCount: Int) throws {
    mapBuffer = try Buffer(capacity: 16)
    deviceClusters = sizes
    self.directory = directory
    memory = try Buffer(capacity: heldCount * Format.clusterSize)
    freePlaces = (0..<heldCount).map { $0 * Format.clusterSize }
  }

  /// The sectors of a range of bytes within a cluster.
  static func sectors(_ range: Range<Int>) -> SectorMap {
    let (first, end) = (range.lowerBound / 512, range.upperBound / 512)
    let below: SectorMap = end == 128 ? .max : (1 << SectorMap(end)) - 1
    return below & ~((1 << SectorMap(first)) - 1)
  }

  /// The sectors of a cluster that were told.
  func map(device: UInt8, cluster: UInt64) throws -> SectorMap {
    if let entry = held[Key(device: device, cluster: cluster)] { return entry.map }
    guard let spill = spills[device], spill.clusters.contains(cluster) else { return 0 }
    return try readMap(spill.file, cluster)
  }

  /// Whether anything of a cluster was told.
  func contains(device: UInt8, cluster: UInt64) -> Bool {
    held[Key(device: device, cluster: cluster)] != nil
      || spills[device]?.clusters.contains(cluster) ?? false
  }

  /// Adds what is told of some sectors. The first word wins: sectors that are there stay.
  ///
  /// - Parameters:
  ///   - range: bytes within the cluster.
  ///   - source: of the bytes, and where they start in it; nil for zeros.
  /// - Returns: all sectors that are there now.
  func merge(
    device: UInt8, cluster: UInt64, _ range: Range<Int>, from source: (Buffer, Int)?
  ) throws -> SectorMap {
    let key = Key(device: device, cluster: cluster)
    var entry = try hold(key)
    let new = Self.sectors(range) & ~entry.map
    var sector = range.lowerBound / 512
    while sector < range.upperBound / 512 {
      guard new >> SectorMap(sector) & 1 == 1 else {
        sector += 1
        continue
      }
      let run = min((~(new >> SectorMap(sector))).trailingZeroBitCount, 128 - sector)
      let target = entry.place + sector * 512
      if let (buffer, start) = source {
        let first = start + sector * 512 - range.lowerBound
        memory.copy(from: buffer, first..<first + run * 512, to: target)
      } else {
        memory.fillWithZeros(target..<target + run * 512)
      }
      sector += run
    }
    entry.map |= new
    held[key] = entry
    return entry.map
  }

  /// Copies the sectors that are there over a cluster elsewhere, and forgets the cluster.
  func take(device: UInt8, cluster: UInt64, into buffer: Buffer, at start: Int) throws {
    let key = Key(device: device, cluster: cluster)
    let entry = try hold(key)
    for sector in 0..<128 where entry.map >> SectorMap(sector) & 1 == 1 {
      let first = entry.place + sector * 512
      buffer.copy(from: memory, first..<first + 512, to: start + sector * 512)
    }
    held[key] = nil
    freePlaces.append(entry.place)
    if let spill = spills[device], spill.clusters.contains(cluster) {
      _ = spill.file.punchHole(cluster * Self.stride..<(cluster + 1) * Self.stride)
    }
  }

  /// Brings a cluster in memory, for which another one may have to go to its file.
  private func hold(_ key: Key) throws -> Held {
    if let entry = held[key] { return entry }
    if freePlaces.isEmpty, let other = held.first {
      try spill(other.key, other.value)
      held[other.key] = nil
      freePlaces.append(other.value.place)
    }
    let place = freePlaces.removeLast()
    var entry = Held(place: place, map: 0)
    if let spill = spills[key.device], spill.clusters.contains(key.cluster) {
      entry.map = try readMap(spill.file, key.cluster)
      let range = place..<place + Format.clusterSize
      let count = try spill.file.read(into: memory, range, at: key.cluster * Self.stride)
      memory.fillWithZeros(place + count..<range.upperBound)
    }
    held[key] = entry
    return entry
  }

  private func spill(_ key: Key, _ entry: Held) throws {
    if spills[key.device] == nil {
      spills[key.device] = Spill(
        file: try .temporary(in: directory),
        clusters: ClusterSet(denseCount: deviceClusters[key.device]))
    }
    guard let file = spills[key.device]?.file else { return }
    let start = key.cluster * Self.stride
    try file.write(memory, entry.place..<entry.place + Format.clusterSize, at: start)
    mapBuffer.copy(
      (0..<16).map { UInt8(truncatingIfNeeded: entry.map >> SectorMap(8 * $0)) }, to: 0)
    try file.write(mapBuffer, 0..<16, at: start + UInt64(Format.clusterSize))
    _ = spills[key.device]?.clusters.insert(key.cluster)
  }

  private func readMap(_ file: Descriptor, _ cluster: UInt64) throws -> SectorMap {
    // Beyond the end, or punched: no sector.
    mapBuffer.fillWithZeros(0..<16)
    let place = cluster * Self.stride + UInt64(Format.clusterSize)
    _ = try file.read(into: mapBuffer, 0..<16, at: place)
    return mapBuffer.withBytes(0..<16) { bytes in
      (0..<16).reduce(SectorMap(0)) { $0 | SectorMap(bytes[$1]) << SectorMap(8 * $1) }
    }
  }
}
