// SPDX-License-Identifier: Apache-2.0

import Archives
import TestSupport
import Testing
import VMA

/// Every public call of the library with values that no sane caller would use: it returns or
/// throws, and never traps.
@Suite struct HostileValueTests {
  static let numbers: [UInt64] = [
    0, 1, 100, 511, 512, 4096, 65535, 65536, 65537, 1 << 26, 1 << 32 - 1, 1 << 32, 1 << 36,
    1 << 48, 1 << 48 + 512, 1 << 63, .max - 511, .max - 1, .max,
  ]
  static let integers: [Int] = [.min, .min + 1, -1, 0, 1, 511, 512, 4096, 65536, .max - 1, .max]
  static let names: [[UInt8]] = [
    [], [0], [65], [65, 0, 66], VMAFormat.vmstateName, Array(repeating: 255, count: 65534),
    Array(repeating: 255, count: 65535),
  ]

  private var random: SeededGenerator

  init() { random = SeededGenerator(seed: 1) }

  private mutating func one<Value>(_ values: [Value]) -> Value {
    values[Int.random(in: values.indices, using: &random)]
  }

  private mutating func device() -> ArchiveHeader.Device {
    ArchiveHeader.Device(
      id: one([0, 1, 1, 2, 254, 255]), name: one(Self.names), size: one(Self.numbers))
  }

  private mutating func header() -> ArchiveHeader {
    let count = one([0, 0, 1, 2, 3])
    let configCount = one([0, 1, 256, 257])
    let config = ArchiveHeader.Config(
      name: configCount > 1 ? [65] : one(Self.names),
      data: [UInt8](repeating: 7, count: configCount > 1 ? 1 : one([0, 1, 65535, 65536])))
    return ArchiveHeader(
      uuid: ArchiveHeader.UUID(one([0, 1, .max])), creationTime: one([.min, 0, .max]),
      configs: .init(repeating: config, count: configCount),
      devices: (0..<count).map { _ in device() })
  }

  private mutating func slot() -> ExtentHeader.Slot {
    ExtentHeader.Slot(
      device: one([0, 1, 1, 2, 254, 255]), cluster: one([0, 1, 2, 65535, .max - 1, .max]),
      mask: one([0, 1, 0x8000, .max]))
  }

  @Test mutating func builders() throws {
    var finished = 0
    for _ in 0..<300 {
      var builder: ArchiveBuilder
      do throws(FormatError) {
        let digest: ArchiveBuilder.DataDigest = { UInt128($0.count) }
        builder = try ArchiveBuilder(
          header(), digest: MD5.self, dataDigest: Bool.random(using: &random) ? digest : nil)
      } catch {
        _ = error.description
        continue
      }
      // An archive that a builder accepts can be parsed.
      var parser = ArchiveParser(digest: MD5.self)
      var index = 0
      let event = try parser.next(in: builder.headerBytes.span, from: &index)
      var sorted = builder.header
      sorted.devices.sort { $0.id < $1.id }
      #expect(event == .header(sorted))
      for _ in 0..<20 {
        let data = [UInt8](repeating: 0, count: one([0, 1, 65535, 65536, 65537]))
        do throws(FormatError) {
          try builder.add(
            device: one([0, 1, 2, 254, 255]), cluster: one(Self.numbers), mask: one([0, 1, .max]),
            at: one(Self.integers), isEarly: one([true, false]))
          let first = one(Self.numbers)
          let (end, overflows) = first.addingReportingOverflow(one([0, 1, 3, 200]))
          if !overflows {
            try builder.add(zeros: first..<end, device: one([1, 2]), isEarly: one([true, false]))
          }
          try builder.add(
            data.span, device: one([0, 1, 2, 254, 255]), cluster: one(Self.numbers),
            at: one(Self.integers), isEarly: one([true, false]))
        } catch {
          _ = error.description
        }
        if Bool.random(using: &random) { _ = builder.nextExtent() }
        if one([1, 2, 3, 4]) == 1 { builder.flush() }
        #expect(builder.heldCount >= 0)
      }
      do throws(FormatError) {
        try builder.finish()
        try builder.finish()
        while builder.nextExtent() != nil {}
        #expect(builder.nextExtent() == nil)
        #expect(builder.heldCount == 0)
        finished += 1
      } catch {
        _ = error.description
      }
    }
    #expect(finished > 0)
  }

  @Test mutating func censuses() throws {
    var count = 0
    for _ in 0..<300 {
      let devices = (0..<one([0, 1, 2, 3])).map { _ in device() }
      var census: ClusterCensus
      do throws(FormatError) { census = try ClusterCensus(devices) } catch { continue }
      count += 1
      for _ in 0..<20 {
        do throws(FormatError) {
          try census.record(try ExtentHeader(slots: [slot(), slot()]))
        } catch {
          _ = error.description
        }
        let device = Bool.random(using: &random) ? device() : devices.first ?? device()
        _ = census.count(of: device)
        _ = census.isComplete(device)
        _ = census.length(of: device)
        do throws(FormatError) {
          try census.checkComplete([device, device])
        } catch {
          _ = error.description
        }
      }
    }
    #expect(count > 10)
  }

  @Test mutating func extentHeaders() {
    for _ in 0..<300 {
      let slots = (0..<one([0, 1, 59, 60, 1000])).map { _ in slot() }
      do throws(FormatError) {
        let header = try ExtentHeader(slots: slots)
        #expect(slots.count <= 59)
        #expect(header.dataSize == header.blockCount * 4096)
        #expect(header.dataByte == 512)
        header.forEachPiece { piece in
          #expect(piece.length > 0)
          #expect(piece.offset < 1 << 48)
        }
      } catch {
        #expect(slots.count > 59 || slots.contains { [0, 255].contains($0.device) })
      }
    }
  }

  @Test mutating func parsers() throws {
    for seed in 0..<30 as Range<UInt64> {
      let archive = try SampleArchive(seed: seed)
      var parser = ArchiveParser(digest: MD5.self)
      for _ in 0..<60 {
        let place = Int.random(in: 0...archive.bytes.count, using: &random)
        let bytes =
          one([true, true, true, false])
          ? Array(archive.bytes[Int(min(parser.position, UInt64(archive.bytes.count)))...])
          : Array(archive.bytes[place...])
        var index = one(Self.integers + [0, 0, 0, 0, 0])
        let before = index
        do throws(FormatError) {
          _ = try parser.next(in: bytes.span, from: &index)
          #expect((0...bytes.count).contains(index))
        } catch {
          #expect(error.code != .argument || index == before)
        }
        _ = parser.neededCount
        #expect(parser.skipData(one(Self.integers)) >= 0)
        do throws(FormatError) {
          try parser.finish(requiring: one([nil, [], [device(), device()]]))
        } catch {
          _ = error.description
        }
      }
    }
  }

  @Test mutating func values() {
    for size in Self.numbers {
      for name in Self.names {
        let device = ArchiveHeader.Device(id: one([0, 1, 255]), name: name, size: size)
        #expect(device.clusterCount == size / 65536 + (size % 65536 == 0 ? 0 : 1))
        #expect(device.isVMState == (name == VMAFormat.vmstateName))
      }
    }
    for text in ["", "-", "----", "é", "\0", String(repeating: "f", count: 10000)] {
      #expect(ArchiveHeader.UUID(text) == nil)
    }
    for extent in [nil] + Self.integers.map(Optional.some) {
      for byte in [nil] + Self.numbers.map(Optional.some) {
        let error = FormatError(.init(rawValue: "new"), "words", byte: byte, extent: extent)
        #expect(error.description.hasSuffix("words"))
        #expect(error.code.description == "new")
      }
    }
  }
}
