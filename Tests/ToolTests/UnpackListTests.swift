// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Listing reads the header and prints its content")
struct UnpackListTests {
  let dir: Scratch
  var archive = Sample.whole

  init() throws {
    dir = try Scratch()
    archive.ctime = 1_600_000_000
    try dir.write(archive.bytes(), to: "a.vma")
  }

  private struct Listing: Decodable, Equatable {
    struct Config: Decodable, Equatable {
      var name: String
      var size: Int
    }
    struct Drive: Decodable, Equatable {
      var id: Int
      var name: String
      var size: UInt64
    }
    struct State: Decodable, Equatable {
      var id: Int
      var size: UInt64
    }
    var uuid: String
    var ctime: Int64
    var configs: [Config]
    var drives: [Drive]
    var vmstate: State?
  }

  @Test func `as JSON`() throws {
    let output = try dir.run(.unpack, "-l", "--json", "a.vma").succeeds().output
    let listing = try JSONDecoder().decode(Listing.self, from: Data(output))
    #expect(
      listing
        == Listing(
          uuid: "10111213-1415-1617-1819-1a1b1c1d1e1f", ctime: 1_600_000_000,
          configs: [
            .init(name: "qemu-server.conf", size: Sample.config.data.count),
            .init(name: "qemu-server.fw", size: Sample.firewall.data.count),
          ],
          drives: [
            .init(id: 1, name: "drive-efidisk0", size: 540_672),
            .init(id: 2, name: "drive-scsi0", size: 1_048_576),
          ],
          vmstate: .init(id: 7, size: 262_144)))
    let object = try JSONSerialization.jsonObject(with: Data(output)) as? [String: Any]
    #expect(
      Set(object?.keys ?? [:].keys) == ["uuid", "ctime", "configs", "drives", "vmstate"])
    #expect(output.last == 0x0a)
  }

  @Test func `as JSON, null without a VM state`() throws {
    try dir.write(Archive([]).bytes(), to: "b.vma")
    let output = try dir.run(.unpack, "-l", "--json", "b.vma").succeeds().output
    let object = try JSONSerialization.jsonObject(with: Data(output)) as? [String: Any]
    #expect(object?["vmstate"] is NSNull)
    #expect((object?["drives"] as? [Any])?.isEmpty == true)
    #expect((object?["configs"] as? [Any])?.isEmpty == true)
  }

  @Test func `in the reference tool's format`() throws {
    let lines = try dir.run(.unpack, "-l", "--pve", "a.vma").succeeds().lines
    #expect(
      lines == [
        "CFG: size: \(Sample.config.data.count) name: qemu-server.conf",
        "CFG: size: \(Sample.firewall.data.count) name: qemu-server.fw",
        "DEV: dev_id=1 size: 540672 devname: drive-efidisk0",
        "DEV: dev_id=2 size: 1048576 devname: drive-scsi0",
        "VMSTATE: dev_id=7 memory: 262144",
        "CTIME: Sun Sep 13 12:26:40 2020",
      ])
  }

  @Test func `as text with every member and size`() throws {
    for option in ["-l", "--list"] {
      let text = try dir.run(.unpack, option, "a.vma").succeeds().text
      for word in [
        "drive-efidisk0", "drive-scsi0", "qemu-server.conf", "qemu-server.fw", "vmstate",
      ] {
        #expect(text.contains(word))
      }
    }
  }

  @Test(arguments: [["-l"], ["-l", "--json"], ["-l", "--pve"]])
  func `from a file, a redirection and a pipe alike`(options: [String]) throws {
    let expected = try dir.run(.unpack, options + ["a.vma"]).succeeds().output
    expectSame(
      try dir.run(.unpack, options, input: .file(dir("a.vma"))).succeeds().output, expected)
    expectSame(
      try dir.run(.unpack, options + ["-"], input: .pipe(Sample.wholeBytes)).succeeds().output,
      expected)
  }

  @Test func `the header is enough`() throws {
    let header = archive.headerBytes()
    for bytes in [header, header + Array("garbage".utf8)] {
      try dir.write(bytes, to: "b.vma")
      try dir.run(.unpack, "-l", "b.vma").succeeds()
      try dir.run(.unpack, "-l", input: .pipe(bytes)).succeeds()
    }
    for count in [0, 1, 12287, header.count - 1] {
      let cut = Array(header.prefix(count))
      try dir.write(cut, to: "b.vma")
      try dir.run(.unpack, "-l", "b.vma").fails(65, .unpack)
      try dir.run(.unpack, "-l", input: .pipe(cut)).fails(65, .unpack)
    }
  }

  @Test func `it does not wait for the rest of a pipe`() throws {
    let running = try dir.start(.unpack, ["-l"], input: .open)
    running.send(archive.headerBytes())
    #expect(running.wait { !running.output.isEmpty })
    running.finish().succeeds()
  }

  @Test(requires("zstd"))
  func `a decompressor may get a broken pipe without a complaint`() throws {
    let large = Archive([Archive.Disk("d", Image.full(3 << 20, seed: 3))]).bytes()
    try dir.write(large, to: "large.vma")
    let outcome = try dir.sh(
      """
      zstd -qf large.vma && zstd -qdc large.vma.zst | vma-unpack -l > list
      echo ${PIPESTATUS[1]}
      """)
    #expect(outcome.lines == ["0"])
    #expect(!outcome.errors.contains("vma-unpack"))
    try dir.run(.unpack, "-l", "large.vma.zst").succeeds()
  }

  @Test(arguments: [[], ["--json"], ["--pve"]])
  func `text from an archive is always escaped`(options: [String]) throws {
    var evil = archive
    evil.devices[0] = Archive.Device(id: 1, name: "a\u{1b}[31m\nDEV: b\u{7f}\u{9b}", size: 540_672)
    evil.configs[0] = Archive.Config("c\u{1b}]0;x\u{07}", "text")
    try dir.write(evil.bytes(), to: "b.vma")
    for output in [Output.terminal, .pipe] {
      let outcome = try dir.run(.unpack, ["-l"] + options + ["b.vma"], output: output)
      #expect(outcome.ending == .exit(0))
      let controls = outcome.output.filter { ($0 < 32 && $0 != 10 && $0 != 13) || $0 == 127 }
      #expect(controls.isEmpty)
      #expect(!outcome.text.contains("\nDEV: b"))
      #expect(!outcome.text.unicodeScalars.contains("\u{9b}"))
    }
    if options == ["--json"] {
      let output = try dir.run(.unpack, "-l", "--json", "b.vma").succeeds().output
      let listing = try JSONDecoder().decode(Listing.self, from: Data(output))
      #expect(listing.drives.first?.id == 1)
    }
  }

  @Test func `names that are not UTF-8 are listed, too`() throws {
    var odd = archive
    odd.devices[0].blob = [0x61, 0xff, 0xfe, 0x62, 0]
    try dir.write(odd.bytes(), to: "b.vma")
    for options in [[], ["--json"], ["--pve"]] {
      let output = try dir.run(.unpack, ["-l"] + options + ["b.vma"]).succeeds().output
      if options == ["--json"] {
        #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(output)) }
      }
    }
  }

  @Test(arguments: [
    ["-l", "-C", "out"], ["-l", "-d", "scsi0"], ["-l", "-m", "scsi0=x"], ["-l", "-f"],
    ["-t", "-C", "out"], ["-t", "-d", "scsi0"], ["-t", "-m", "scsi0=x"], ["-t", "-f"],
    ["-l", "-t"], ["-l", "--json", "--pve"], ["--json"], ["--pve"], ["-t", "--json"],
    ["--quick"], ["-l", "--quick"], ["--lost", "."], ["a.vma"], ["-x"], ["--progress", "maybe"],
    ["-m", "scsi0"],
  ])
  func `options that contradict each other are 64`(options: [String]) throws {
    try dir.run(.unpack, options + ["a.vma"]).fails(64, .unpack)
    try dir.expectNames(["a.vma"])
  }

  @Test func `an archive that cannot be opened is 66`() throws {
    for options in [[], ["-l"], ["-t"], ["--salvage"]] {
      try dir.run(.unpack, options + ["missing.vma"]).fails(66, .unpack, saying: "missing.vma")
    }
    try dir.expectNames(["a.vma"])
  }

  @Test func `a terminal instead of an archive is 64`() throws {
    try dir.run(.unpack, "-l", input: .terminal).fails(64, .unpack)
    try dir.run(.unpack, input: .terminal).fails(64, .unpack)
  }
}
