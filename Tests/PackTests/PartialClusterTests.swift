// SPDX-License-Identifier: Apache-2.0

import System
import TestSupport
import Testing
import VMA

@testable import PackTool

@Suite("Partial clusters are stored in free slots, wherever they are on the disk")
struct PartialClusterTests {
  /// Sectors arrive in any order, of clusters that are close together or as far apart as possible:
  /// each cluster consists of the first record for each sector.
  @Test(arguments: 0..<8 as Range<UInt64>)
  func `sectors are returned, and the first record wins`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let partial = try PartialClusters(directory: "/tmp", heldCount: 4)
    let buffer = try Buffer(capacity: 2 * VMAFormat.clusterSize)
    var expected: [PartialClusters.Key: [Int: UInt8]] = [:]
    let clusters: [UInt64] = [0, 1, 2, 3, 2047, 2048, 1 << 31, (1 << 32) - 2, (1 << 32) - 1]
    for turn in 0..<600 {
      let key = PartialClusters.Key(
        device: [1, 2, 254].randomElement(using: &random) ?? 1,
        cluster: clusters.randomElement(using: &random) ?? 0)
      if Int.random(in: 0..<6, using: &random) == 0 {
        buffer.fillWithZeros(0..<VMAFormat.clusterSize)
        let told = expected.removeValue(forKey: key)
        #expect(
          try partial.contains(device: key.device, cluster: key.cluster) == (told != nil))
        guard let told else { continue }
        try partial.take(device: key.device, cluster: key.cluster, into: buffer, at: 0)
        for sector in 0..<128 {
          let isRight = buffer.withBytes(sector * 512..<(sector + 1) * 512) { bytes in
            [0, 1, 255, 511].allSatisfy { bytes[$0] == told[sector] ?? 0 }
          }
          #expect(isRight, "turn \(turn), sector \(sector) of \(key)")
        }
        #expect(try !partial.contains(device: key.device, cluster: key.cluster))
      } else {
        let first = Int.random(in: 0..<128, using: &random)
        let sectors = first..<Int.random(in: first...128, using: &random)
        guard !sectors.isEmpty else { continue }
        let fill = UInt8.random(in: 1...255, using: &random)
        buffer.withMutableBytes(0..<buffer.capacity) { $0.update(repeating: fill) }
        let isZero = Bool.random(using: &random)
        let map = try partial.merge(
          device: key.device, cluster: key.cluster,
          sectors.lowerBound * 512..<sectors.upperBound * 512,
          from: isZero ? nil : (buffer, turn % 4096))
        for sector in sectors where expected[key]?[sector] == nil {
          expected[key, default: [:]][sector] = isZero ? 0 : fill
        }
        let told = expected[key] ?? [:]
        #expect((0..<128).allSatisfy { (map >> UInt128($0) & 1 == 1) == (told[$0] != nil) })
        #expect(try partial.map(device: key.device, cluster: key.cluster) == map)
      }
    }
  }

  /// The file grows only with the waiting data: slots are reused.
  @Test func `the file grows only with the waiting data`() throws {
    let file = try ClusterFile(directory: "/tmp")
    let buffer = try Buffer(capacity: VMAFormat.clusterSize)
    var slots: Set<UInt64> = []
    for turn in 0..<100 as Range<UInt64> {
      var waiting: [(PartialClusters.Key, UInt64)] = []
      for number in 0..<10 as Range<UInt64> {
        let key = PartialClusters.Key(device: 7, cluster: turn << 25 + number << 20)
        let slot = try file.store(key, 1, slot: nil, from: buffer, at: 0)
        #expect(try file.entry(key)?.slot == slot)
        waiting.append((key, slot))
      }
      #expect(Set(waiting.map(\.1)).count == 10)
      for (key, slot) in waiting {
        try file.remove(key, slot: slot)
        #expect(try file.entry(key) == nil)
        slots.insert(slot)
      }
    }
    #expect(slots.count == 10)
  }
}
