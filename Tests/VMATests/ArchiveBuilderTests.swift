// SPDX-License-Identifier: Apache-2.0

import Archives
import Testing
import VMA

@Suite struct ArchiveBuilderTests {
  static let disk = ArchiveHeader.Device(id: 1, name: [65], size: 65536 + 4096)
  static let state = ArchiveHeader.Device(id: 2, name: VMAFormat.vmstateName, size: 65536)

  static func builder(_ devices: [ArchiveHeader.Device]) throws(FormatError) -> ArchiveBuilder {
    try ArchiveBuilder(
      ArchiveHeader(
        uuid: ArchiveHeader.UUID(7), creationTime: 0, configs: [], devices: devices),
      digest: MD5.self)
  }

  @Test func clustersThatAReaderRefusesCannotBeAdded() throws {
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
    #expect(builder.room == 59, "nothing was added")
    #expect(code(1, 1, 1) == nil)
    #expect(code(1, 1) == .duplicateCluster)
    #expect(throws: FormatError.self) { try builder.finish() }
    #expect(code(1, 0) == nil)
    #expect(code(2, 0) == nil)
    #expect(code(2, 1) == nil, "vmstate may be longer than its size")
    #expect(try builder.finish()?.header.slots.count == 4)
  }

  @Test func twoDevicesWithOneIDAreRefused() {
    let error = #expect(throws: FormatError.self) {
      try Self.builder([Self.disk, ArchiveHeader.Device(id: 1, name: [66], size: 512)])
    }
    #expect(error?.code == .deviceID)
  }

  @Test func anArchiveWithoutDevicesHasOneExtent() throws {
    var builder = try Self.builder([])
    #expect(builder.nextExtent() == nil)
    let built = try builder.finish()
    let extent = try #require(built)
    #expect(extent.header.slots.isEmpty)
    #expect(extent.blocks.isEmpty)
    #expect(try builder.finish() == nil)
  }

  @Test func aFullExtentAcceptsNoMore() throws {
    var builder = try Self.builder([
      ArchiveHeader.Device(id: 1, name: [65], size: 60 * 65536)
    ])
    for cluster in 0..<59 as Range<UInt64> {
      try builder.add(device: 1, cluster: cluster, mask: .max, at: Int(cluster) * 65536)
    }
    #expect(builder.room == 0)
    let error = #expect(throws: FormatError.self) {
      try builder.add(device: 1, cluster: 59, mask: 0)
    }
    #expect(error?.code == .slotCount)
    let full = builder.nextExtent()
    let extent = try #require(full)
    #expect(extent.blocks == [0..<59 * 65536], "neighbors are one range")
    #expect(extent.header.number == 0)
    try builder.add(device: 1, cluster: 59, mask: 0b1011, at: 100)
    let built = try builder.finish()
    let last = try #require(built)
    #expect(last.blocks == [100..<100 + 8192, 100 + 12288..<100 + 16384])
    #expect(last.header.number == 1)
    #expect(last.header.byte == extent.header.dataByte + UInt64(extent.header.dataSize))
  }

  @Test func blocksOfZerosAreNotStored() throws {
    var builder = try Self.builder([Self.disk])
    var data = [UInt8](repeating: 0, count: 65536)
    data[4095] = 1
    data[8192] = 1
    data[65535] = 1
    try builder.add(data.span, device: 1, cluster: 0, at: 0)
    try builder.add(device: 1, cluster: 1, mask: 0)
    let built = try builder.finish()
    let extent = try #require(built)
    #expect(extent.blocks == [0..<4096, 8192..<12288, 61440..<65536])
    #expect(throws: FormatError.self) {
      try builder.add(data.span.extracting(1...), device: 1, cluster: 0, at: 0)
    }
  }
}
