// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// An invalid value in the header of `Sample.small`.
struct HeaderLie: Sendable, CustomTestStringConvertible {
  var testDescription: String
  var edits: [Edit] = []
  var wounds: [Edit] = []

  init(_ description: String, _ edits: Edit...) {
    testDescription = description
    self.edits = edits
  }

  init(_ description: String, unsealed wound: Edit) {
    testDescription = description
    wounds = [wound]
  }

  private static let layout = Archive.Layout(Sample.small)
  private static let used = UInt32(layout.buffer.count)
  private static let configName = 12288 + (layout.configNames.first ?? 0)
  private static let configData = 12288 + (layout.configData.first ?? 0)
  private static let deviceName = 12288 + (layout.deviceNames.first ?? 0)
  private static let device = 4096 + 32

  static let all: [HeaderLie] = [
    HeaderLie("magic", Edit(offset: 0, bytes: Array("VMB\0".utf8))),
    HeaderLie("magic without NUL", Edit(offset: 3, bytes: [1])),
    HeaderLie("an extent's magic", Edit(offset: 0, bytes: Array("VMAE".utf8))),
    HeaderLie("version 0", .big(4, UInt32(0))),
    HeaderLie("version 2", .big(4, UInt32(2))),
    HeaderLie("version in the wrong order", .big(4, UInt32(1 << 24))),
    HeaderLie("uuid other than the extents'", Edit(offset: 8, bytes: [0xff])),
    HeaderLie("header_size 0", .big(56, UInt32(0))),
    HeaderLie("header_size 512", .big(56, UInt32(512))),
    HeaderLie("header_size 12287", .big(56, UInt32(12287))),
    HeaderLie("header_size 12288, blobs outside", .big(56, UInt32(12288))),
    HeaderLie("header_size 12801", .big(56, UInt32(12801))),
    HeaderLie("header_size one block more", .big(56, UInt32(13312))),
    HeaderLie("header_size 52 MiB", .big(56, UInt32(52 << 20))),
    HeaderLie("header_size over 52 MiB", .big(56, UInt32(52 << 20 + 512))),
    HeaderLie("header_size 2 GiB", .big(56, UInt32(1 << 31))),
    HeaderLie("header_size 4 GiB - 512", .big(56, UInt32.max - 511)),
    HeaderLie("header_size 4 GiB - 1", .big(56, UInt32.max)),
    HeaderLie("blob_buffer_offset 0", .big(48, UInt32(0))),
    HeaderLie("blob_buffer_offset 4096", .big(48, UInt32(4096))),
    HeaderLie("blob_buffer_offset at the end", .big(48, UInt32(12800))),
    HeaderLie("blob_buffer_offset beyond", .big(48, UInt32.max - 511)),
    HeaderLie("blob_buffer_offset odd", .big(48, UInt32(12289))),
    HeaderLie("blob_buffer_size 0", .big(52, UInt32(0))),
    HeaderLie("blob_buffer_size beyond the header", .big(52, UInt32(513))),
    HeaderLie("blob_buffer_size 4 GiB", .big(52, UInt32.max)),
    HeaderLie("blob_buffer_size cuts the last name", .big(52, used - 1)),
    HeaderLie("config name beyond the buffer", .big(2044, used)),
    HeaderLie("config name at its last byte", .big(2044, used - 1)),
    HeaderLie("config name at 4 GiB", .big(2044, UInt32.max)),
    HeaderLie("config data beyond the buffer", .big(3068, used)),
    HeaderLie("config data at 4 GiB", .big(3068, UInt32.max)),
    HeaderLie("config data longer than the buffer", Edit(offset: configData, bytes: [0xff, 0xff])),
    HeaderLie("config name longer than the buffer", Edit(offset: configName, bytes: [0xff, 0xff])),
    HeaderLie("device name beyond the buffer", .big(device, used)),
    HeaderLie("device name at 4 GiB", .big(device, UInt32.max)),
    HeaderLie("device name longer than the buffer", Edit(offset: deviceName, bytes: [0, 0x10])),
    HeaderLie("device name of no bytes", Edit(offset: deviceName, bytes: [0, 0])),
    HeaderLie("device name without NUL", Edit(offset: deviceName + 13, bytes: [0x41])),
    HeaderLie("size no multiple of 512", .big(device + 8, UInt64(200_705))),
    HeaderLie("size of 1 byte", .big(device + 8, UInt64(1))),
    HeaderLie("size one cluster more", .big(device + 8, UInt64(200_704 + 65536))),
    HeaderLie("size one cluster less", .big(device + 8, UInt64(131_072))),
    HeaderLie("size of 256 TiB", .big(device + 8, UInt64(1 << 48))),
    HeaderLie("size over what clusters can count", .big(device + 8, UInt64(1 << 48 + 512))),
    HeaderLie("size of 8 EiB", .big(device + 8, UInt64(1) << 63)),
    HeaderLie("size of 16 EiB", .big(device + 8, UInt64.max - 511)),
    HeaderLie("size of 16 EiB - 1", .big(device + 8, UInt64.max)),
    HeaderLie("size 0, so that the device is none", .big(device + 8, UInt64(0))),
    HeaderLie("name 0, so that the device is none", .big(device, UInt32(0))),
    HeaderLie(
      "device under another id", .big(device, UInt64(0)), .big(device + 8, UInt64(0)),
      .big(device + 32, UInt32(deviceName - 12288)), .big(device + 40, UInt64(200_704))),
    HeaderLie("256 TiB 253 times over", claims(of: 1 << 48)),
    HeaderLie("16 EiB 253 times over", claims(of: UInt64.max - 511)),
    HeaderLie("magic, unsealed", unsealed: Edit(offset: 1, bytes: [0])),
    HeaderLie("version, unsealed", unsealed: .big(4, UInt32(9))),
    HeaderLie("uuid, unsealed", unsealed: Edit(offset: 23, bytes: [0xaa])),
    HeaderLie("ctime, unsealed", unsealed: .big(24, UInt64(1))),
    HeaderLie("md5", unsealed: Edit(offset: 32, bytes: [0, 0])),
    HeaderLie("md5 of zeros", unsealed: Edit(offset: 32, bytes: Image.zeros(16))),
    HeaderLie("reserved, unsealed", unsealed: Edit(offset: 1000, bytes: [1])),
    HeaderLie("dev_info, unsealed", unsealed: Edit(offset: 12000, bytes: [1])),
    HeaderLie("blob, unsealed", unsealed: Edit(offset: configData + 5, bytes: [0])),
    HeaderLie("padding, unsealed", unsealed: Edit(offset: 12799, bytes: [1])),
  ]

  /// All 253 other devices, each with the given size and the name of the first one.
  private static func claims(of size: UInt64) -> Edit {
    var bytes: [UInt8] = []
    for _ in 2...254 {
      bytes += bigEndian(UInt32(deviceName - 12288)) + Image.zeros(4) + bigEndian(size)
      bytes += Image.zeros(16)
    }
    return Edit(offset: device + 32, bytes: bytes)
  }
}

@Suite("Every invalid header is 65")
struct HostileHeaderTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  @Test(arguments: HeaderLie.all)
  func `an invalid header`(lie: HeaderLie) throws {
    var archive = Sample.small
    archive.edits = lie.edits
    archive.wounds = lie.wounds
    let bytes = archive.bytes()
    try dir.write(bytes, to: "a.vma")
    try dir.run(.unpack, "-t", "a.vma").fails(65, .unpack)
    try dir.run(.unpack, "-t", "--quick", "a.vma").fails(65, .unpack)
    try dir.run(.unpack, "-C", "out", input: .pipe(bytes)).fails(65, .unpack)
    if dir.exists("out") { try dir.expectNames([], in: "out") }
    for (tool, arguments) in [(Tool.cat, ["a.vma", "scsi0"]), (.toTar, ["a.vma"])] {
      let outcome = try dir.run(tool, arguments)
      // An invalid value for another drive may not affect this one.
      if tool == .cat, outcome.output == Sample.smallImage, outcome.ending == .exit(0) { continue }
      // If it removes the device, the member does not exist.
      #expect([.exit(65), .exit(66)].contains(outcome.ending), "\(outcome.command)")
      #expect(outcome.complaint(about: tool) == nil, "\(outcome.errors)")
    }
  }

  @Test(arguments: HeaderLie.all.filter { $0.testDescription.contains("iB") })
  func `a large claim costs no memory`(lie: HeaderLie) throws {
    var archive = Sample.small
    archive.edits = lie.edits
    let bytes = archive.bytes()
    try dir.write(bytes, to: "a.vma")
    // Two gigabytes of address space are much less than the claimed size.
    for command in ["-t a.vma", "-C out a.vma", "-C out < <(cat a.vma)", "-t < <(cat a.vma)"] {
      try dir.sh("ulimit -v 2000000; exec vma-unpack \(command)").fails(65, .unpack)
    }
    let started = Date()
    try dir.run(.unpack, "-t", input: .pipe(bytes)).fails(65, .unpack)
    #expect(Date().timeIntervalSince(started) < 20)
  }

  @Test func `a header truncated at any field`() throws {
    let header = Sample.small.headerBytes()
    for count in [0, 1, 3, 4, 8, 24, 32, 48, 59, 60, 511, 2044, 4096, 12287, 12288, 12289, 12799] {
      let cut = Array(header.prefix(count))
      try dir.write(cut, to: "a.vma")
      for options in [["-t"], ["-l"], ["-C", "out"], ["--salvage", "-C", "out"]] {
        try dir.run(.unpack, options + ["a.vma"]).fails(65, .unpack, "cut at \(count)")
        try dir.run(.unpack, options, input: .pipe(cut)).fails(65, .unpack, "cut at \(count)")
      }
      if dir.exists("out") { try dir.expectNames([], in: "out") }
    }
  }

  @Test func `device 0 is never used`() throws {
    var archive = Sample.small
    let layout = Archive.Layout(archive)
    let name = try #require(layout.deviceNames.first)
    archive.edits = [.big(4096, UInt32(name)), .big(4104, UInt64(512))]
    let bytes = archive.bytes()
    // It may be damage or be ignored, but it is not a disk.
    let outcome = try dir.run(.unpack, "-C", "out", input: .pipe(bytes))
    #expect([.exit(0), .exit(65)].contains(outcome.ending))
    if outcome.ending == .exit(0) {
      try dir.expectNames(["disk-drive-scsi0.raw", "qemu-server.conf"], in: "out")
    }
  }

  @Test func `blobs that are shared are read each time`() throws {
    var archive = Sample.small
    let layout = Archive.Layout(archive)
    let (name, data) = (layout.deviceNames[0], layout.configData[0])
    archive.edits = [.big(2044 + 4, UInt32(name)), .big(3068 + 4, UInt32(data))]
    try dir.write(archive.bytes(), to: "a.vma")
    try dir.run(.unpack, "-C", "out", "a.vma").succeeds()
    try dir.expectNames(["disk-drive-scsi0.raw", "drive-scsi0", "qemu-server.conf"], in: "out")
  }

  @Test func `a header just within the limit is read`() throws {
    var archive = Sample.small
    let size = archive.headerBytes().count
    archive.slack = (1 << 20) - size
    try dir.write(archive.bytes(), to: "a.vma")
    try dir.run(.unpack, "-t", "a.vma").succeeds()
    try dir.run(.unpack, "-t", input: .pipe(archive.bytes())).succeeds()
  }
}
