// SPDX-License-Identifier: Apache-2.0

import Disks
import System
import TestSupport
import Testing
import VMA

@testable import Archives

@Suite struct WaitingRoomTests {
  /// Data is read back unchanged, whatever is stored and loaded in between, and freed space is
  /// reused: the file never grows much beyond the maximum of the waiting data.
  @Test(arguments: [true, false], [1, 2, 3])
  func dataIsReadBack(canPunch: Bool, seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let room = try WaitingRoom(directory: "/tmp", canPunch: canPunch)
    let buffer = try Buffer(capacity: 4 * VMAFormat.clusterSize)
    var waiting: [(run: DataRun, fill: UInt8)] = []
    var size = 0
    var largest = 0
    for turn in 0..<400 {
      if waiting.count < 30, Bool.random(using: &random) {
        let count = UInt16.random(in: 1...4, using: &random)
        let mask = count > 1 ? UInt16.max : UInt16.random(in: 1 ... .max, using: &random)
        let run = DataRun(position: 0, cluster: UInt32(turn), clusterCount: count, mask: mask)
        let fill = UInt8.random(in: 1...255, using: &random)
        buffer.withMutableBytes(0..<run.length) { $0.update(repeating: fill) }
        waiting.append((try room.store(run, from: buffer), fill))
        size += run.length
        largest = max(largest, size)
      } else if let index = waiting.indices.randomElement(using: &random) {
        let (run, fill) = waiting.remove(at: index)
        size -= run.length
        try room.load(run, into: buffer)
        let isRight = buffer.withBytes(0..<run.length) { bytes in
          bytes.indices.allSatisfy { bytes[$0] == fill }
        }
        #expect(isRight, "turn \(turn)")
      }
    }
    if !canPunch { #expect(room.end <= UInt64(largest) * 2) }
  }
}

@Suite struct FreeSpaceTests {
  /// Space is allocated once, joined with adjacent parts, and never exceeds the original space.
  @Test(arguments: [1, 2, 3])
  func spaceIsUsedOnce(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var space = FreeSpace()
    let count: UInt64 = 2500
    var isFree = [Bool](repeating: false, count: Int(count))
    var used: [Range<UInt64>] = [0..<count]
    for _ in 0..<1000 {
      if Bool.random(using: &random), let index = used.indices.randomElement(using: &random) {
        // A part of the used space.
        let range = used.remove(at: index)
        let middle = UInt64.random(in: range.lowerBound...range.upperBound, using: &random)
        let part =
          Bool.random(using: &random) ? range.lowerBound..<middle : middle..<range.upperBound
        let rest =
          part.lowerBound == range.lowerBound
          ? part.upperBound..<range.upperBound : range.lowerBound..<part.lowerBound
        if !rest.isEmpty { used.append(rest) }
        guard !part.isEmpty else { continue }
        space.insert(part.lowerBound * 4096..<part.upperBound * 4096)
        for block in part { isFree[Int(block)] = true }
      } else {
        let length = UInt64.random(in: 1...944, using: &random)
        guard let place = space.take(length * 4096) else {
          let longest = isFree.split(separator: false).map(\.count).max() ?? 0
          #expect(UInt64(longest) < length)
          continue
        }
        let range = place / 4096..<place / 4096 + length
        #expect(range.allSatisfy { isFree[Int($0)] })
        for block in range { isFree[Int(block)] = false }
        used.append(range)
      }
    }
  }
}

@Suite struct StreamReorderTests {
  /// Extents in memory, as from a reader.
  private final class Extents: ExtentSource {
    let header: ArchiveHeader
    private(set) var census: ClusterCensus
    private var extents: [(header: ExtentHeader, data: [UInt8])]

    init(_ header: ArchiveHeader, _ extents: [(header: ExtentHeader, data: [UInt8])]) throws {
      self.header = header
      self.extents = extents
      census = try ClusterCensus(header.devices)
    }

    func next() throws -> Extent? {
      guard !extents.isEmpty else { return nil }
      let (header, data) = extents.removeFirst()
      let extent = try Extent()
      extent.header = header
      extent.buffer.copy(data, to: 0)
      try census.record(header)
      return extent
    }

    func recycle(_ extent: Extent) {}
  }

  private struct Collector: DiskSink {
    var bytes: [UInt8] = []

    mutating func write(_ buffer: Buffer, _ range: Range<Int>) {
      buffer.withBytes(range) { span in
        for index in span.indices { bytes.append(span[index]) }
      }
    }

    mutating func skip(zeros count: UInt64) {
      bytes += repeatElement(0, count: Int(count))
    }
  }

  /// Two disks and a VM state, their clusters in any order (those of the state ascending), any
  /// number to an extent: each disk is restored unchanged.
  @Test(arguments: 0..<60 as Range<UInt64>)
  func disksAreInOrder(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let devices = [
      ArchiveHeader.Device(id: 2, name: [65], size: 65536 * 9 + 512),
      ArchiveHeader.Device(id: 5, name: [66], size: 65536 * 6),
      ArchiveHeader.Device(id: 7, name: VMAFormat.vmstateName, size: 65536 * 2),
    ]
    var expected: [UInt8: [UInt8]] = [:]
    var slots: [ExtentHeader.Slot] = []
    for device in devices {
      let clusters = device.isVMState ? 3 : device.clusterCount
      expected[device.id] = .init(repeating: 0, count: Int(clusters) * 65536)
      for cluster in 0..<UInt32(clusters) {
        var mask = [0, 0xffff, UInt16.random(in: 0 ... .max, using: &random)][Int(cluster) % 3]
        if device.id == 2, cluster == 9 { mask &= 1 }
        slots.append(ExtentHeader.Slot(device: device.id, cluster: cluster, mask: mask))
      }
    }
    slots.shuffle(using: &random)
    var state: UInt32 = 0
    for index in slots.indices where slots[index].device == 7 {
      slots[index].cluster = state
      state += 1
    }

    var extents: [(header: ExtentHeader, data: [UInt8])] = []
    while !slots.isEmpty {
      let count = min(slots.count, Int.random(in: 1...7, using: &random))
      let header = try ExtentHeader(slots: Array(slots.prefix(count)))
      slots.removeFirst(count)
      let fill = UInt8(extents.count + 1)
      var data: [UInt8] = []
      header.forEachPiece { piece in
        guard piece.position != nil else { return }
        let block = (0..<piece.length).map { fill &+ UInt8(truncatingIfNeeded: $0 / 4096) }
        data += block
        let start = Int(piece.offset)
        expected[piece.device]?.replaceSubrange(start..<start + piece.length, with: block)
      }
      extents.append((header, data))
    }
    expected[2]?.removeLast(65536 - 512)

    let source = try Extents(
      ArchiveHeader(uuid: ArchiveHeader.UUID(0), creationTime: 0, configs: [], devices: devices),
      extents)
    let reorder = try StreamReorder(source, devices: devices, directory: "/tmp")
    for device in devices {
      if seed % 2 == 0 && device.id != 7 {
        #expect(try reorder.stream(device, to: Collector()).bytes == expected[device.id])
      } else {
        let disk = try #require(try reorder.collect(device))
        #expect(try disk.emit(to: Collector()).bytes == expected[device.id])
      }
    }
  }
}
