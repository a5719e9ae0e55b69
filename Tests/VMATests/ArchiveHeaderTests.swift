// SPDX-License-Identifier: Apache-2.0

import Archives
import TestSupport
import Testing
import VMA

@Suite struct ArchiveHeaderTests {
  static let sample = ArchiveHeader(
    uuid: ArchiveHeader.UUID(0x0f68_4264_bd53_4ae5_989c_eeee_86ce_2eb9), creationTime: -5,
    configs: [
      ArchiveHeader.Config(name: Array("qemu-server.conf".utf8), data: Array("cores: 2\n".utf8)),
      ArchiveHeader.Config(name: [0xff, 0x1b], data: []),
    ],
    devices: [
      ArchiveHeader.Device(id: 1, name: Array("drive-efidisk0".utf8), size: 540672),
      ArchiveHeader.Device(id: 254, name: Array("vmstate".utf8), size: 512),
    ])

  @Test func writtenHeadersAreReadBack() throws {
    let bytes = try Self.sample.serialized(digest: MD5.self)
    #expect(bytes.count == 12800)
    #expect(try ArchiveHeader.byteCount(prefix: bytes.span) == bytes.count)
    #expect(try parse(bytes) == Self.sample)
  }

  @Test func fieldsAreAtTheSpecifiedOffsets() throws {
    let bytes = try Self.sample.serialized(digest: MD5.self)
    #expect(Array(bytes[0..<8]) == hex("564d4100 00000001"))
    #expect(Array(bytes[8..<24]) == hex("0f684264 bd534ae5 989ceeee 86ce2eb9"))
    #expect(Array(bytes[24..<32]) == hex("ffffffff fffffffb"))
    #expect(Array(bytes[48..<52]) == hex("00003000"))
    #expect(Array(bytes[56..<60]) == hex("00003200"))
    #expect(Array(bytes[2044..<2048]) == hex("00000001"))
    #expect(Array(bytes[3068..<3072]) == hex("00000014"))
    #expect(Array(bytes[4128 + 8..<4128 + 16]) == hex("00000000 00084000"))
    // The length of a blob is little-endian, and that of a name includes its NUL.
    #expect(Array(bytes[12288..<12292]) == hex("00 1100 71"))
  }

  @Test func anEmptyArchiveHasABlobBuffer() throws {
    let header = ArchiveHeader(
      uuid: ArchiveHeader.UUID(0), creationTime: 0, configs: [], devices: [])
    let bytes = try header.serialized(digest: MD5.self)
    #expect(bytes.count == VMAFormat.fixedHeaderSize + 512)
    #expect(try parse(bytes) == header)
  }

  @Test(arguments: 0..<100 as Range<UInt64>)
  func anyHeaderIsReadBack(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let ids = VMAFormat.deviceIDs.shuffled(using: &random)
      .prefix(Int.random(in: 0...254, using: &random)).sorted()
    let header = ArchiveHeader(
      uuid: ArchiveHeader.UUID(.random(in: .min ... .max, using: &random)),
      creationTime: .random(in: .min ... .max, using: &random),
      configs: (0..<Int.random(in: 0...20, using: &random)).map { _ in
        ArchiveHeader.Config(
          name: random.bytes(.random(in: 0...40, using: &random)).filter { $0 != 0 },
          data: random.bytes(.random(in: 0...3000, using: &random)))
      },
      devices: ids.map {
        ArchiveHeader.Device(
          id: $0, name: random.bytes(.random(in: 1...30, using: &random)).filter { $0 != 0 },
          size: .random(in: 1...(1 << 39), using: &random) * 512)
      })
    #expect(try parse(try header.serialized(digest: MD5.self)) == header)
  }

  @Test func valuesBeyondTheFormatAreRefused() {
    func refusal(_ change: (inout ArchiveHeader) -> Void) -> FormatError.Code? {
      var header = Self.sample
      change(&header)
      do {
        _ = try header.serialized(digest: MD5.self)
        return nil
      } catch {
        return error.code
      }
    }
    #expect(refusal { $0.devices[0].size = 0 } == .deviceSize)
    #expect(refusal { $0.devices[0].size = 513 } == .deviceSize)
    #expect(refusal { $0.devices[0].size = 1 << 49 } == .deviceSize)
    #expect(refusal { $0.devices[1].size = 0 } == .deviceSize)
    #expect(refusal { $0.devices[0].id = 0 } == .deviceID)
    #expect(refusal { $0.devices[0].id = 255 } == .deviceID)
    #expect(refusal { $0.devices[0].id = 254 } == .deviceID, "the id of another device")
    #expect(refusal { $0.devices[0].name = [65, 0, 66] } == .name)
    #expect(refusal { $0.configs[0].name = [0] } == .name)
    #expect(refusal { $0.configs[0].name = .init(repeating: 1, count: 65535) } == .blobSize)
    #expect(refusal { $0.configs[0].data = .init(repeating: 1, count: 65536) } == .blobSize)
    #expect(
      refusal { $0.configs = .init(repeating: $0.configs[0], count: 257) } == .configCount)
  }

  /// Each invalid header has a correct checksum.
  @Test(arguments: [
    ("magic", 0, "564d4145", FormatError.Code.notAnArchive),
    ("version", 4, "00000002", .version),
    ("blob buffer before the tables", 48, "00000200", .blob),
    ("blob buffer not aligned", 48, "00003001", .blob),
    ("blob buffer too long", 52, "00000201", .blob),
    ("blob buffer of 4 GiB", 52, "ffffffff", .blob),
    ("header size of 4 GiB", 56, "fffffe00", .headerSize),
    ("header size of nothing", 56, "00000000", .headerSize),
    ("header size not aligned", 56, "00003201", .headerSize),
    ("name beyond the buffer", 2044, "0000004f", .blob),
    ("name far beyond the buffer", 2044, "ffffffff", .blob),
    ("data beyond the buffer", 3068, "000000ff", .blob),
    ("name without NUL", 2044, "00000014", .name),
    ("device 0", 4096, "00000001 00000000 00000000 00000200", .deviceID),
    ("device 255", 12256, "00000001 00000000 00000000 00000200", .deviceID),
    ("device of 16 EiB", 4136, "fffffffffffffe00", .deviceSize),
    ("device of half a sector", 4136, "0000000000000100", .deviceSize),
  ])
  func invalidHeadersAreDetected(what: String, offset: Int, bytes: String, code: FormatError.Code)
    throws
  {
    var header = try Self.sample.serialized(digest: MD5.self)
    let lie = hex(bytes)
    header.replaceSubrange(offset..<offset + lie.count, with: lie)
    let error = #expect(throws: FormatError.self) { try parse(resealed(header, md5At: 32)) }
    #expect(error?.code == code, "\(what)")
  }

  @Test func everyFlippedByteIsDetected() throws {
    let bytes = try Self.sample.serialized(digest: MD5.self)
    for index in stride(from: 0, to: bytes.count, by: 7) {
      var flipped = bytes
      flipped[index] ^= 0x40
      #expect(throws: FormatError.self) { try parse(flipped) }
    }
  }

  @Test func truncationIsDetected() throws {
    let bytes = try Self.sample.serialized(digest: MD5.self)
    for count in [0, 1, 4, 511, 12287, 12288, 12799] {
      #expect(throws: FormatError.self) { try parse(Array(bytes[..<count])) }
    }
  }

  /// The size of `vmstate` is an estimate, and can be any number.
  @Test func anySizeOfVMStateIsKept() throws {
    var header = Self.sample
    for size in [1, 100, 513, VMAFormat.maximumDeviceSize] {
      header.devices[1].size = size
      #expect(try parse(try header.serialized(digest: MD5.self)) == header)
    }
  }

  /// Whatever a header says, with a correct checksum: an error, or values that can be written.
  @Test(arguments: 0..<300 as Range<UInt64>)
  func noHeaderTraps(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var bytes = try Self.sample.serialized(digest: MD5.self)
    let places = [4, 48, 52, 56, 2044, 2048, 3068, 3072, 4096, 4128, 4136, 12289, 12310]
    for _ in 0..<Int.random(in: 1...6, using: &random) {
      let place = places.randomElement(using: &random) ?? 0
      bytes[place + Int.random(in: 0..<8, using: &random)] = random.bytes(1)[0]
    }
    let header: ArchiveHeader
    do throws(FormatError) { header = try parse(resealed(bytes, md5At: 32)) } catch { return }
    let names = header.configs.map(\.name) + header.devices.map(\.name)
    if names.contains(where: { $0.contains(0) }) {
      #expect(throws: FormatError.self) { try header.serialized(digest: MD5.self) }
    } else {
      #expect(try parse(try header.serialized(digest: MD5.self)) == header)
    }
  }
}

@Suite struct UUIDTests {
  @Test func textIsParsedAndPrinted() throws {
    let text = "9beaf9f9-8a21-48bb-abb2-00124227089f"
    let uuid = try #require(ArchiveHeader.UUID(text))
    #expect(uuid.value == 0x9bea_f9f9_8a21_48bb_abb2_0012_4227_089f)
    #expect(uuid.description == text)
    #expect(ArchiveHeader.UUID(text.uppercased()) == uuid)
  }

  @Test(arguments: [
    "", "9beaf9f98a2148bbabb200124227089f", "9beaf9f9-8a21-48bb-abb2-00124227089",
    "9beaf9f9-8a21-48bb-abb2-00124227089g", "9beaf9f9-8a21-48bb-abb2-00124227089f-",
  ])
  func otherTextIsNotAUUID(text: String) {
    #expect(ArchiveHeader.UUID(text) == nil)
  }
}
