// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing
import VMA

@Suite struct ClusterCensusTests {
  static func disk(_ id: UInt8, clusters: UInt64) -> ArchiveHeader.Device {
    ArchiveHeader.Device(id: id, name: Array("disk\(id)".utf8), size: clusters * 65536)
  }

  static func fault(_ census: inout ClusterCensus, _ slot: ExtentHeader.Slot) -> FormatError.Code? {
    do {
      try census.record(slot, of: nil)
      return nil
    } catch {
      return error.code
    }
  }

  /// Small claims are counted in a field of bits, large ones (above 4 TiB) in hashed words.
  @Test(arguments: [700, 1 << 27] as [UInt64], 0..<20 as Range<UInt64>)
  func anyOrderIsComplete(clusters: UInt64, seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let disk = Self.disk(1, clusters: clusters)
    var census = try ClusterCensus([disk])
    // Of a large disk only some clusters: in runs, as usual, and scattered.
    var present: Set<UInt64> = []
    for _ in 0..<8 {
      let start = UInt64.random(in: 0..<clusters - 100, using: &random)
      present.formUnion(start..<start + UInt64.random(in: 1...100, using: &random))
    }
    for cluster in present.shuffled(using: &random) {
      #expect(
        Self.fault(&census, ExtentHeader.Slot(device: 1, cluster: UInt32(cluster), mask: 0)) == nil)
    }
    let again = ExtentHeader.Slot(
      device: 1, cluster: UInt32(try #require(present.randomElement())), mask: 0)
    #expect(
      Self.fault(&census, again) == .duplicateCluster)
    #expect(census.count(of: disk) == UInt64(present.count))

    // Runs and gaps, compared with the plain set.
    for cluster in present.prefix(50) {
      var end = cluster
      while present.contains(end) { end += 1 }
      #expect(census.next(seen: false, of: disk, from: cluster) == (end < clusters ? end : nil))
      #expect(census.next(seen: true, of: disk, from: cluster) == cluster)
    }
    #expect(census.next(seen: true, of: disk, from: 0) == present.min())
    #expect(census.isComplete(disk) == (present.count == Int(clusters)))
  }

  @Test func invalidSlotsAreRefused() throws {
    let disk = ArchiveHeader.Device(id: 2, name: [65], size: 65536 + 4096 + 512)
    var census = try ClusterCensus([disk])
    func fault(_ slot: ExtentHeader.Slot) -> FormatError.Code? { Self.fault(&census, slot) }
    #expect(fault(ExtentHeader.Slot(device: 1, cluster: 0, mask: 0)) == .unknownDevice)
    #expect(fault(ExtentHeader.Slot(device: 2, cluster: 2, mask: 0)) == .beyondEnd)
    #expect(fault(ExtentHeader.Slot(device: 2, cluster: .max, mask: 0)) == .beyondEnd)
    // Two blocks of the second cluster are inside the disk, the second one in part.
    #expect(fault(ExtentHeader.Slot(device: 2, cluster: 1, mask: 0b100)) == .beyondEnd)
    #expect(fault(ExtentHeader.Slot(device: 2, cluster: 1, mask: 0b11)) == nil)
    #expect(fault(ExtentHeader.Slot(device: 2, cluster: 0, mask: 0xffff)) == nil)
    #expect(census.isComplete(disk))
  }

  @Test func vmstateIsInOrderAndMayBeLonger() throws {
    let state = ArchiveHeader.Device(id: 9, name: VMAFormat.vmstateName, size: 65536 + 1)
    var census = try ClusterCensus([state])
    func fault(_ cluster: UInt32) -> FormatError.Code? {
      Self.fault(&census, ExtentHeader.Slot(device: 9, cluster: cluster, mask: 0xffff))
    }
    #expect(fault(1) == .clusterOrder)
    #expect(fault(0) == nil)
    #expect(!census.isComplete(state))
    #expect(fault(1) == nil)
    #expect(census.isComplete(state))
    #expect(fault(2) == nil)
    #expect(census.length(of: state) == 3 * 65536)
    #expect(fault(2) == .clusterOrder)
  }

  @Test func missingClustersAreNamed() throws {
    let (first, second) = (Self.disk(1, clusters: 3), Self.disk(2, clusters: 2))
    var census = try ClusterCensus([first, second])
    for cluster in [0, 2] as [UInt32] {
      #expect(Self.fault(&census, ExtentHeader.Slot(device: 1, cluster: cluster, mask: 0)) == nil)
    }
    #expect(
      throws: FormatError(
        .incomplete, "archive is incomplete: disk1 lacks 1 cluster, the first at byte 65536")
    ) { try census.checkComplete([first, second]) }
    #expect(
      throws: FormatError(
        .incomplete, "archive is incomplete: disk2 lacks 2 clusters, the first at byte 0")
    ) { try census.checkComplete([second]) }
  }

  /// 254 disks of 256 TiB can be claimed in a few bytes, and must not cost memory.
  @Test func claimsCostNoMemory() throws {
    let disks = VMAFormat.deviceIDs.map { Self.disk($0, clusters: 1 << 32) }
    var census = try ClusterCensus(disks)
    for disk in disks {
      let slot = ExtentHeader.Slot(device: disk.id, cluster: .max, mask: 0xffff)
      #expect(Self.fault(&census, slot) == nil)
    }
    #expect(throws: FormatError.self) {
      try ClusterCensus.checkExtentBytes(1 << 40, for: disks)
    }
  }
}
