// SPDX-License-Identifier: Apache-2.0

import Archives
import TestSupport
import Testing
import VMA

@Suite struct ArchiveBuilderTests {
  static let disk = ArchiveHeader.Device(id: 1, name: [65], size: 65536 + 4096)
  static let state = ArchiveHeader.Device(id: 2, name: VMAFormat.vmstateName, size: 65536)

  static func builder(
    _ devices: [ArchiveHeader.Device], dataDigest: ArchiveBuilder.DataDigest? = nil
  ) throws(FormatError) -> ArchiveBuilder {
    try ArchiveBuilder(
      ArchiveHeader(
        uuid: ArchiveHeader.UUID(7), creationTime: 0, configs: [], devices: devices),
      digest: MD5.self, dataDigest: dataDigest)
  }

  static func disk(_ id: UInt8, clusters: UInt64) -> ArchiveHeader.Device {
    ArchiveHeader.Device(id: id, name: [64 + id], size: clusters * 65536)
  }

  /// All extents that are ready.
  private func ready(_ builder: inout ArchiveBuilder) -> [ArchiveBuilder.Extent] {
    var extents: [ArchiveBuilder.Extent] = []
    while let extent = builder.nextExtent() { extents.append(extent) }
    return extents
  }

  private func clusters(_ extent: ArchiveBuilder.Extent) -> [[UInt32]] {
    extent.header.slots.map { [UInt32($0.device), $0.cluster] }
  }

  @Test func whatAReaderRefusesCannotBeAdded() throws {
    var builder = try Self.builder([Self.disk, Self.state])
    func code(
      _ device: UInt8, _ cluster: UInt64, _ mask: UInt16 = 0, at position: Int = 0
    ) -> FormatError.Code? {
      do {
        try builder.add(device: device, cluster: cluster, mask: mask, at: position)
        return nil
      } catch {
        return error.code
      }
    }
    #expect(code(0, 0) == .unknownDevice)
    #expect(code(3, 0) == .unknownDevice)
    #expect(code(255, 0) == .unknownDevice)
    #expect(code(1, 2) == .beyondEnd)
    #expect(code(1, 1 << 32) == .beyondEnd)
    #expect(code(2, 1 << 32) == .beyondEnd)
    #expect(code(1, .max) == .beyondEnd)
    #expect(code(1, 1, 0b10) == .beyondEnd)
    #expect(code(2, 1) == .clusterOrder)
    #expect(code(1, 0, 1, at: -1) == .argument)
    #expect(code(1, 0, 1, at: .max) == .argument)
    #expect(builder.heldCount == 0, "nothing was added")
    #expect(code(1, 1, 1) == nil)
    #expect(builder.heldCount == 1)
    #expect(code(1, 1) == .duplicateCluster)
    #expect(throws: FormatError.self) { try builder.finish() }
    #expect(code(1, 0) == nil)
    #expect(code(2, 0) == nil)
    #expect(code(2, 1) == nil, "vmstate may be longer than its size")
    try builder.finish()
    #expect(code(2, 2) == .argument, "finished")
    #expect(ready(&builder).map(clusters) == [[[1, 0], [1, 1]], [[2, 0], [2, 1]]])
  }

  @Test func twoDevicesOfOneIDAreRefused() {
    let error = #expect(throws: FormatError.self) {
      try Self.builder([Self.disk, ArchiveHeader.Device(id: 1, name: [66], size: 512)])
    }
    #expect(error?.code == .deviceID)
  }

  @Test(arguments: [true, false])
  func anArchiveWithoutDevicesHasOneExtent(hasDigests: Bool) throws {
    let digest: ArchiveBuilder.DataDigest = { _ in 0 }
    var builder = try Self.builder([], dataDigest: hasDigests ? digest : nil)
    #expect(builder.nextExtent() == nil)
    try builder.finish()
    let extents = ready(&builder)
    #expect(extents.count == 1)
    #expect(extents.first?.header.slots.isEmpty == true)
    #expect(extents.first?.header.digests == nil)
  }

  @Test func blocksAreRangesOfTheCallersMemory() throws {
    var builder = try Self.builder([Self.disk(1, clusters: 60)])
    for cluster in 0..<59 as Range<UInt64> {
      try builder.add(device: 1, cluster: cluster, mask: .max, at: Int(cluster) * 65536)
    }
    #expect(builder.nextExtent() == nil, "it could be the last one")
    #expect(builder.heldCount == 59)
    try builder.add(device: 1, cluster: 59, mask: 0b1011, at: 100)
    let next = builder.nextExtent()
    let extent = try #require(next)
    #expect(extent.blocks == [0..<59 * 65536], "neighbors are one range")
    #expect(extent.header.number == 0)
    #expect(builder.heldCount == 1)
    #expect(builder.nextExtent() == nil)
    try builder.finish()
    let last = try #require(ready(&builder).first)
    #expect(last.blocks == [100..<100 + 8192, 100 + 12288..<100 + 16384])
    #expect(last.header.number == 1)
    #expect(last.header.byte == extent.header.dataByte + UInt64(extent.header.dataSize))
    #expect(builder.heldCount == 0)
  }

  @Test func blocksOfZerosAreLeftOut() throws {
    var builder = try Self.builder([Self.disk])
    var data = [UInt8](repeating: 0, count: 65536)
    data[4095] = 1
    data[8192] = 1
    data[65535] = 1
    try builder.add(data.span, device: 1, cluster: 0, at: 0)
    try builder.add(device: 1, cluster: 1, mask: 0)
    #expect(throws: FormatError.self) {
      try builder.add(data.span.extracting(1...), device: 1, cluster: 0, at: 0)
    }
    try builder.finish()
    #expect(ready(&builder).map(\.blocks) == [[0..<4096, 8192..<12288, 61440..<65536]])
  }

  // MARK: Groups

  @Test func aDiskStartsANewExtent() throws {
    var builder = try Self.builder([Self.disk(1, clusters: 60), Self.disk(2, clusters: 61)])
    for (device, count) in [(1, 60), (2, 61)] as [(UInt8, UInt64)] {
      for cluster in 0..<count { try builder.add(device: device, cluster: cluster, mask: 0) }
    }
    try builder.finish()
    #expect(ready(&builder).map(\.header.slots.count) == [59, 1, 59, 2])
  }

  @Test func earlyClustersAreLeftOutOfTheirGroup() throws {
    var builder = try Self.builder([Self.disk(1, clusters: 59 * 4), Self.disk(7, clusters: 2)])
    try builder.add(device: 1, cluster: 200, mask: 0, isEarly: true)
    try builder.add(device: 7, cluster: 1, mask: 0)
    try builder.add(device: 1, cluster: 130, mask: 0, isEarly: true)
    for cluster in 0..<236 as Range<UInt64> where cluster != 200 && cluster != 130 {
      try builder.add(device: 1, cluster: cluster, mask: 0)
    }
    try builder.add(device: 7, cluster: 0, mask: 0)
    try builder.finish()
    let extents = ready(&builder).map(clusters)
    let groups = (0..<4 as Range<UInt32>).map { group in
      (group * 59..<group * 59 + 59).filter { $0 != 200 && $0 != 130 }.map { [1, $0] }
    }
    // Within the window a cluster is not early, in whatever order it comes.
    #expect(extents == groups + [[[7, 0], [7, 1]], [[1, 130], [1, 200]]])
  }

  @Test(arguments: [0, 1, 2] as [UInt64])
  func rangesOfZerosAreLikeTheirClusters(kind: UInt64) throws {
    var random = SeededGenerator(seed: kind)
    let device = Self.disk(1, clusters: 2000)
    var ranges = (0..<40 as Range<UInt64>).map { $0 * 50..<($0 + 1) * 50 }
    if kind > 0 { ranges.shuffle(using: &random) }
    var (one, other) = (try Self.builder([device]), try Self.builder([device]))
    var extents: [[ArchiveBuilder.Extent]] = [[], []]
    for range in ranges {
      let isEarly = kind == 2 && Bool.random(using: &random)
      try one.add(zeros: range, device: 1, isEarly: isEarly)
      for cluster in range {
        try other.add(device: 1, cluster: cluster, mask: 0, isEarly: isEarly)
      }
      extents[0] += ready(&one)
      extents[1] += ready(&other)
    }
    #expect(throws: FormatError.self) { try one.add(zeros: 1999..<2001, device: 1) }
    try one.finish()
    try other.finish()
    extents[0] += ready(&one)
    extents[1] += ready(&other)
    #expect(extents.allSatisfy { $0.reduce(0) { $0 + $1.header.slots.count } == 2000 })
    if kind == 0 { #expect(extents[0] == extents[1]) }
  }

  @Test func earlyClustersOfAllDisksFillExtents() throws {
    var builder = try Self.builder([
      Self.disk(1, clusters: 59 * 10), Self.disk(2, clusters: 59 * 10),
    ])
    for cluster in (300..<360).reversed() as [UInt64] {
      for device in [2, 1] as [UInt8] {
        try builder.add(device: device, cluster: cluster, mask: 1, at: 0, isEarly: true)
      }
    }
    let extent = try #require(ready(&builder).first)
    let slots = clusters(extent)
    #expect(slots.count == 59)
    #expect(slots == slots.sorted { ($0[0], $0[1]) < ($1[0], $1[1]) })
  }

  /// A program that marks nothing as early: the builder finds out.
  @Test func theOrderIsDetected() throws {
    let count: UInt64 = 59 * 20
    var random = SeededGenerator(seed: 1)
    let early = Set((0..<5).map { _ in UInt64.random(in: 200..<count, using: &random) })
    var builder = try Self.builder([Self.disk(1, clusters: count)])
    var extents: [ArchiveBuilder.Extent] = []
    for cluster in early.sorted().reversed() + (0..<count).filter({ !early.contains($0) }) {
      try builder.add(device: 1, cluster: cluster, mask: 1, at: 0)
      extents += ready(&builder)
      #expect(builder.heldCount <= 3 * 59)
    }
    try builder.finish()
    extents += ready(&builder)
    #expect(extents.count == 21)
    for (group, extent) in extents.dropLast().enumerated() {
      let numbers = (UInt64(group) * 59..<UInt64(group) * 59 + 59).filter { !early.contains($0) }
      #expect(clusters(extent) == numbers.map { [1, UInt32($0)] })
    }
  }

  /// Copying that starts elsewhere, or skips a cluster: most groups are aligned nevertheless.
  @Test(arguments: [
    Array(1000..<2000) + Array(0..<1000), Array(0..<70) + Array(71..<2000) + [70],
  ])
  func groupsAreAlignedInAnyUsualOrder(order: [UInt64]) throws {
    var builder = try Self.builder([Self.disk(1, clusters: 2000)])
    var extents: [ArchiveBuilder.Extent] = []
    for cluster in order {
      try builder.add(device: 1, cluster: cluster, mask: 1, at: 0)
      extents += ready(&builder)
    }
    try builder.finish()
    extents += ready(&builder)
    let aligned = extents.filter { extent in
      let numbers = extent.header.slots.map(\.cluster)
      return numbers.count == 59 && numbers.first.map { $0 % 59 == 0 } == true
        && numbers.last == numbers[0] + 58
    }
    #expect(aligned.count >= 2000 / 59 - 4, "of \(extents.count)")
  }

  @Test(arguments: 0..<50 as Range<UInt64>)
  func anyOrderGivesACompleteArchive(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let devices = [
      Self.disk(3, clusters: 400), Self.disk(1, clusters: 130),
      ArchiveHeader.Device(id: 9, name: VMAFormat.vmstateName, size: 65536 * 70),
    ]
    var order = devices.dropLast().flatMap { device in
      (0..<device.clusterCount).map { (device.id, $0) }
    }
    switch seed % 4 {
    case 0: order.shuffle(using: &random)
    case 1: order.reverse()
    default:
      for _ in 0..<Int.random(in: 0..<200, using: &random) {
        order.swapAt(
          .random(in: order.indices, using: &random), .random(in: order.indices, using: &random))
      }
    }
    var builder = try Self.builder(devices)
    var census = try ClusterCensus(devices)
    var state: UInt64 = 0
    var held = 0
    func take() throws {
      for extent in ready(&builder) {
        try census.record(extent.header)
        held -= extent.header.slots.count { $0.mask != 0 }
        #expect(extent.header.slots.count <= 59)
      }
    }
    for (device, cluster) in order {
      let isEarly = seed % 3 == 0 && Bool.random(using: &random)
      let mask: UInt16 = Bool.random(using: &random) ? 1 : 0
      try builder.add(device: device, cluster: cluster, mask: mask, at: 0, isEarly: isEarly)
      held += mask == 0 ? 0 : 1
      if Int.random(in: 0..<7, using: &random) == 0, state < 80 {
        try builder.add(device: 9, cluster: state, mask: 0)
        state += 1
      }
      if Int.random(in: 0..<40, using: &random) == 0 { builder.flush() }
      try take()
      #expect(builder.heldCount == held)
    }
    while state < 80 {
      try builder.add(device: 9, cluster: state, mask: 0)
      state += 1
    }
    try take()
    #expect(throws: FormatError.self, "the last extent is kept back") {
      try census.checkComplete(devices)
    }
    try builder.finish()
    try take()
    try census.checkComplete(devices)
    #expect(builder.heldCount == 0)
  }
}
