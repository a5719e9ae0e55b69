// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing
import VMA

@Suite struct ClusterCensusTests {
  static func disk(_ id: UInt8, clusters: UInt64) -> Device {
    Device(id: id, name: Array("disk\(id)".utf8), size: clusters * 65536)
  }

  static func fault(_ census: inout ClusterCensus, _ slot: Slot) -> Fault? {
    do {
      try census.record(slot)
      return nil
    } catch {
      return error
    }
  }

  /// Small claims are counted in a field of bits, large ones (above 4 TiB) in hashed words.
  @Test(arguments: [700, 1 << 27] as [UInt64], 0..<20 as Range<UInt64>)
  func anyOrderIsComplete(clusters: UInt64, seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let disk = Self.disk(1, clusters: clusters)
    var census = ClusterCensus([disk])
    // Of a large disk only some clusters: in runs, as they come, and here and there.
    var present: Set<UInt64> = []
    for _ in 0..<8 {
      let start = UInt64.random(in: 0..<clusters - 100, using: &random)
      present.formUnion(start..<start + UInt64.random(in: 1...100, using: &random))
    }
    for cluster in present.shuffled(using: &random) {
      #expect(
        Self.fault(&census, Slot(device: 1, cluster: UInt32(cluster), mask: 0)) == nil)
    }
    let again = Slot(device: 1, cluster: UInt32(try #require(present.randomElement())), mask: 0)
    #expect(
      Self.fault(&census, again) == .duplicateCluster(device: 1, cluster: again.cluster))
    #expect(census.count(of: disk) == UInt64(present.count))

    // Runs and gaps, against the plain set.
    for cluster in present.prefix(50) {
      var end = cluster
      while present.contains(end) { end += 1 }
      #expect(census.next(seen: false, of: disk, from: cluster) == (end < clusters ? end : nil))
      #expect(census.next(seen: true, of: disk, from: cluster) == cluster)
    }
    #expect(census.next(seen: true, of: disk, from: 0) == present.min())
    #expect(census.isComplete(disk) == (present.count == Int(clusters)))
  }

  @Test func slotsThatCannotBeAreRefused() {
    let disk = Device(id: 2, name: [65], size: 65536 + 4096 + 512)
    var census = ClusterCensus([disk])
    func fault(_ slot: Slot) -> Fault? { Self.fault(&census, slot) }
    #expect(fault(Slot(device: 1, cluster: 0, mask: 0)) == .unknownDevice(1))
    #expect(
      fault(Slot(device: 2, cluster: 2, mask: 0)) == .clusterBeyondEnd(device: 2, cluster: 2))
    #expect(
      fault(Slot(device: 2, cluster: .max, mask: 0))
        == .clusterBeyondEnd(device: 2, cluster: .max))
    // Two blocks of the second cluster lie within the disk, the second in part.
    #expect(
      fault(Slot(device: 2, cluster: 1, mask: 0b100)) == .blockBeyondEnd(device: 2, cluster: 1))
    #expect(fault(Slot(device: 2, cluster: 1, mask: 0b11)) == nil)
    #expect(fault(Slot(device: 2, cluster: 0, mask: 0xffff)) == nil)
    #expect(census.isComplete(disk))
  }

  @Test func vmstateComesInOrderAndMayBeLonger() {
    let state = Device(id: 9, name: Format.vmstateName, size: 65536 + 1)
    var census = ClusterCensus([state])
    func fault(_ cluster: UInt32) -> Fault? {
      Self.fault(&census, Slot(device: 9, cluster: cluster, mask: 0xffff))
    }
    #expect(fault(1) == .vmstateOrder(expected: 0, found: 1))
    #expect(fault(0) == nil)
    #expect(!census.isComplete(state))
    #expect(fault(1) == nil)
    #expect(census.isComplete(state))
    #expect(fault(2) == nil)
    #expect(census.length(of: state) == 3 * 65536)
    #expect(fault(2) == .vmstateOrder(expected: 3, found: 2))
  }

  @Test func whatIsMissingIsNamed() {
    let (first, second) = (Self.disk(1, clusters: 3), Self.disk(2, clusters: 2))
    var census = ClusterCensus([first, second])
    for cluster in [0, 2] as [UInt32] {
      #expect(Self.fault(&census, Slot(device: 1, cluster: cluster, mask: 0)) == nil)
    }
    #expect(throws: Fault.missingClusters(name: first.name, count: 1, first: 1)) {
      try census.checkComplete([second, first].reversed())
    }
    #expect(throws: Fault.missingClusters(name: second.name, count: 2, first: 0)) {
      try census.checkComplete([second])
    }
  }

  /// 254 disks of 256 TiB are claimed in a few bytes and must cost no more.
  @Test func claimsCostNothing() {
    let disks = Format.deviceIDs.map { Self.disk($0, clusters: 1 << 32) }
    var census = ClusterCensus(disks)
    for disk in disks {
      let slot = Slot(device: disk.id, cluster: .max, mask: 0xffff)
      #expect(Self.fault(&census, slot) == nil)
    }
    #expect(ClusterCensus.leastExtentBytes(disks) > 1 << 40)
  }
}
