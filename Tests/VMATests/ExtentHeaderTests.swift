// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing
import VMA

@Suite struct ExtentHeaderTests {
  static let uuid = ArchiveHeader.UUID(0x9bea_f9f9_8a21_48bb_abb2_0012_4227_089f)

  /// The only extent of an archive without devices, as the reference implementation wrote it.
  @Test func theReferenceImplementationsBytes() throws {
    let bytes =
      hex("564d4145 00000000 9beaf9f98a2148bbabb200124227089f 6c29f6ec3dca568fdb3b99283dbcb83d")
      + [UInt8](repeating: 0, count: 472)
    #expect(try parseExtent(bytes, uuid: Self.uuid) == ExtentHeader())
    #expect(serialize(ExtentHeader(), uuid: Self.uuid) == bytes)
  }

  @Test(arguments: 0..<100 as Range<UInt64>)
  func writtenHeadersAreReadBack(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let header = try Self.anyHeader(&random)
    let bytes = serialize(header, uuid: Self.uuid)
    #expect(try parseExtent(bytes, uuid: Self.uuid) == header)
  }

  @Test func unusedSlotsMayBeAnywhere() throws {
    let slot = ExtentHeader.Slot(device: 3, cluster: 7, mask: 0x8001)
    var bytes = serialize(try ExtentHeader(slots: [slot]), uuid: Self.uuid)
    // In the last slot, with nonzero bytes in unused slots before it.
    bytes.replaceSubrange(504..<512, with: bytes[40..<48])
    bytes.replaceSubrange(40..<48, with: hex("ffff0000 00000009"))
    let header = try parseExtent(resealed(bytes, md5At: 24), uuid: Self.uuid)
    #expect(header.slots == [slot])
    #expect(header.blockCount == 2)
  }

  @Test func invalidHeadersAreDetected() throws {
    let header = try ExtentHeader(slots: [ExtentHeader.Slot(device: 1, cluster: 0, mask: 0xffff)])
    let good = serialize(header, uuid: Self.uuid)
    func fault(_ offset: Int, _ bytes: String, sealed: Bool = true) -> FormatError.Code? {
      var lie = good
      lie.replaceSubrange(offset..<offset + hex(bytes).count, with: hex(bytes))
      do {
        _ = try parseExtent(sealed ? resealed(lie, md5At: 24) : lie, uuid: Self.uuid)
        return nil
      } catch {
        return error.code
      }
    }
    #expect(fault(0, "564d4146") == .notAnExtent)
    #expect(fault(6, "03b1") == .blockCount)
    #expect(fault(6, "000f") == .blockCount)
    #expect(fault(43, "ff") == .unknownDevice)
    #expect(fault(8, "ff") == .foreignExtent)
    #expect(fault(100, "01", sealed: false) == .extentChecksum)
    // Reserved fields may contain anything.
    #expect(fault(4, "ffff") == nil)
    #expect(fault(42, "ff") == nil)
  }

  /// The joined pieces, split again, are the blocks of the slots in their order.
  @Test(arguments: 0..<200 as Range<UInt64>)
  func piecesAreTheBlocks(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let header = try Self.anyHeader(&random)
    var expected: [[UInt64]] = []
    var stored = 0
    for slot in header.slots {
      for block in 0..<16 {
        let isStored = slot.mask >> UInt16(block) & 1 == 1
        let offset = UInt64(slot.cluster) * 65536 + UInt64(block) * 4096
        expected.append([UInt64(slot.device), offset, isStored ? UInt64(stored) : .max])
        if isStored { stored += 4096 }
      }
    }
    var found: [[UInt64]] = []
    var last: ExtentHeader.Piece?
    header.forEachPiece { piece in
      for place in stride(from: 0, to: piece.length, by: 4096) {
        found.append([
          UInt64(piece.device), piece.offset + UInt64(place),
          piece.position.map { UInt64($0 + place) } ?? .max,
        ])
      }
      if let last {
        let joins =
          last.device == piece.device && last.offset + UInt64(last.length) == piece.offset
          && (last.position == nil) == (piece.position == nil)
        #expect(!joins, "pieces that could be one")
      }
      last = piece
    }
    #expect(found == expected)
  }

  @Test(arguments: 0..<300 as Range<UInt64>)
  func noHeaderTraps(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var bytes = serialize(try Self.anyHeader(&random), uuid: Self.uuid)
    for _ in 0..<Int.random(in: 1...20, using: &random) {
      bytes[Int.random(in: 4..<512, using: &random)] = random.bytes(1)[0]
    }
    if let header = try? parseExtent(resealed(bytes, md5At: 24), uuid: Self.uuid) {
      var census = try ClusterCensus([ArchiveHeader.Device(id: 1, name: [65], size: 1 << 20)])
      try? census.record(header)
      header.forEachPiece { _ in }
    }
  }

  static func anyHeader(_ random: inout SeededGenerator) throws -> ExtentHeader {
    var cluster = UInt32.random(in: 0...(.max - 60), using: &random)
    return try ExtentHeader(
      slots: (0..<Int.random(in: 0...59, using: &random)).map { _ in
        cluster =
          Bool.random(using: &random)
          ? cluster + 1 : UInt32.random(in: 0...(.max - 60), using: &random)
        let mask = [0, 0xffff, UInt16.random(in: .min ... .max, using: &random)]
        return ExtentHeader.Slot(
          device: UInt8.random(in: 1...3, using: &random), cluster: cluster,
          mask: mask.randomElement(using: &random) ?? 0)
      })
  }
}
