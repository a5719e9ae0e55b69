// SPDX-License-Identifier: Apache-2.0

import Archives
import VMA

/// A digest that accepts every header whose checksum field is zero, so that the fuzzer reaches the
/// code after the checksum.
struct NoDigest: MessageDigest {
  mutating func update(_ bytes: Span<UInt8>) {}
  consuming func finish() -> UInt128 { 0 }
}

extension Target {
  /// The header of an archive, from patches to a valid one: a field, and its new value.
  public static let header = Target(name: "header") { input in
    var choices = Choices(input)
    var bytes = [UInt8](
      repeating: 0, count: VMAFormat.fixedHeaderSize + 512 * Int(choices.byte() % 8))
    let names = choices.bytes(Int(choices.byte()))
    bytes.replaceSubrange(0..<8, with: Array("VMA\0".utf8) + [0, 0, 0, 1])
    patch(&bytes, at: 48, UInt32(VMAFormat.fixedHeaderSize))
    patch(&bytes, at: 52, UInt32(bytes.count - VMAFormat.fixedHeaderSize))
    patch(&bytes, at: 56, UInt32(bytes.count))
    if names.count < bytes.count - VMAFormat.fixedHeaderSize {
      let start = VMAFormat.fixedHeaderSize + 1
      bytes.replaceSubrange(start..<start + names.count, with: names)
    }
    while !choices.isEmpty {
      let place = choices.byte()
      let index = Int(choices.byte())
      let value = choices.number()
      switch place % 8 {
      case 0: patch(&bytes, at: 2044 + 4 * index, UInt32(truncatingIfNeeded: value))
      case 1: patch(&bytes, at: 3068 + 4 * index, UInt32(truncatingIfNeeded: value))
      case 2: patch(&bytes, at: 4096 + 32 * index, UInt32(truncatingIfNeeded: value))
      case 3: patch(&bytes, at: 4096 + 32 * index + 8, value)
      case 4: patch(&bytes, at: [48, 52, 56, 4][index % 4], UInt32(truncatingIfNeeded: value))
      case 5:
        patch(&bytes, at: VMAFormat.fixedHeaderSize + index, UInt16(truncatingIfNeeded: value))
      case 6: patch(&bytes, at: Int(value % UInt64(max(bytes.count, 1))), choices.byte())
      default: bytes = Array(bytes.prefix(Int(value % 20000)))
      }
    }
    for index in 32..<48 where index < bytes.count { bytes[index] = 0 }

    let header: ArchiveHeader
    do {
      header = try ArchiveHeader(parsing: bytes.span, digest: NoDigest.self)
    } catch {
      _ = "\(error)"
      return
    }
    try check(header)
    let written: [UInt8]
    do {
      written = try header.serialized(digest: MD5.self)
    } catch let error as FormatError {
      // Everything else that is read can be written.
      try require(error.code == .name && header.hasNULs, "cannot be written: \(error)")
      return
    }
    try require(written.count % 512 == 0, "the length of a header")
    try require(
      try ArchiveHeader.byteCount(prefix: written.span) == written.count, "its own length")
    let again = try ArchiveHeader(parsing: written.span, digest: MD5.self)
    try require(again == header, "read, written and read again is the same")
    try require(try again.serialized(digest: MD5.self) == written, "written twice is the same")
  }

  private static func check(_ header: ArchiveHeader) throws {
    try require(header.configs.count <= VMAFormat.maximumConfigCount, "configs")
    for config in header.configs {
      try require(config.data.count <= VMAFormat.maximumBlobSize, "a config's size")
      try require(config.name.count < VMAFormat.maximumBlobSize, "a config's name")
    }
    for (one, next) in zip(header.devices, header.devices.dropFirst()) {
      try require(one.id < next.id, "devices ascend")
    }
    for device in header.devices {
      try require((1...254).contains(device.id), "the id of a device")
      try require(device.size > 0 && device.size <= VMAFormat.maximumDeviceSize, "a device's size")
      try require(device.isVMState || device.size % 512 == 0, "sectors")
      try require(device.clusterCount == (device.size + 65535) / 65536, "clusters")
    }
    _ = header.uuid.description
    try require(ArchiveHeader.UUID(header.uuid.description) == header.uuid, "a UUID as text")
  }
}

extension ArchiveHeader {
  fileprivate var hasNULs: Bool {
    (configs.map(\.name) + devices.map(\.name)).contains { $0.contains(0) }
  }
}

/// Stores an integer big-endian, as far as there is room.
func patch(_ bytes: inout [UInt8], at offset: Int, _ value: some FixedWidthInteger) {
  let size = value.bitWidth / 8
  for index in 0..<size where offset + index < bytes.count {
    bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * (size - 1 - index)))
  }
}
