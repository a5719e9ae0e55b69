// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("No name leads to a place outside the directory")
struct HostileNameTests {
  let dir: Scratch

  /// Names that a file must not get, and the reasons.
  static let evil: [[UInt8]] =
    [
      "../x", "../../x", "/abs", "/tmp/abs", "a/b", "a/", "/", "", ".", "..", "a/../b", "./a",
      "a\nb", "a\u{1b}[31mb", "a\u{7f}b", "\u{01}", "\ta", "a\r",
      String(repeating: "x", count: 256),
      String(repeating: "x", count: 4097),
    ].map { Array($0.utf8) } + [Array("a\0b".utf8), Array("ok\0/../x".utf8), [0, 0x61]]

  init() throws {
    dir = try Scratch()
    try dir.makeDirectory("deep")
    try dir.makeDirectory("deep/out")
  }

  private func config(_ name: [UInt8]) -> Archive.Config {
    var config = Archive.Config("", "evil")
    config.blob = name + [0]
    return config
  }

  /// Refused from a file and a pipe, forced or not, with nothing written anywhere.
  private func expectRefused(
    _ archive: Archive, _ options: [String] = [],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let bytes = archive.bytes()
    try dir.write(bytes, to: "a.vma")
    for forced in [[], ["-f"]] {
      let arguments = options + forced + ["-C", "deep/out"]
      try dir.run(.unpack, arguments + ["a.vma"])
        .fails(65, .unpack, sourceLocation: sourceLocation)
      try dir.run(.unpack, arguments, input: .pipe(bytes))
        .fails(65, .unpack, sourceLocation: sourceLocation)
    }
    try expectNothingWritten(sourceLocation)
  }

  private func expectNothingWritten(_ sourceLocation: SourceLocation = #_sourceLocation) throws {
    try dir.expectNames(["a.vma", "deep"], sourceLocation: sourceLocation)
    try dir.expectNames(["out"], in: "deep", sourceLocation: sourceLocation)
    try dir.expectNames([], in: "deep/out", sourceLocation: sourceLocation)
    #expect(access("/abs", F_OK) != 0 && access("/tmp/abs", F_OK) != 0)
  }

  @Test(arguments: evil)
  func `a config of that name`(name: [UInt8]) throws {
    let archive = Archive(
      [Archive.Disk("d", Sample.efi)], configs: [Sample.config, config(name)])
    try expectRefused(archive)
    try dir.run(.toTar, "a.vma").fails(65, .toTar)
    try dir.run(.toTar, input: .pipe(archive.bytes())).fails(65, .toTar)
    // If it is not selected, it does not matter.
    try dir.run(.unpack, "--no-configs", "-C", "deep/out", "a.vma").succeeds()
    try dir.expectNames(["disk-d.raw"], in: "deep/out")
    try dir.run(.unpack, "-t", "a.vma").succeeds()
    expectSame(try dir.run(.cat, "a.vma").succeeds().output, Sample.efi)
  }

  @Test(arguments: evil)
  func `a drive of that name`(name: [UInt8]) throws {
    var archive = Archive(
      [Archive.Disk("d", Sample.efi), Archive.Disk("evil", Sample.efi)], configs: [Sample.config])
    archive.devices[1].blob = name + [0]
    try expectRefused(archive)
    try dir.run(.toTar, "a.vma").fails(65, .toTar)
    try dir.run(.unpack, "-d", "d", "-C", "deep/out", "a.vma").succeeds()
    try dir.expectNames(["disk-d.raw", "qemu-server.conf"], in: "deep/out")
    try dir.run(.toTar, "-d", "d", "a.vma").succeeds()
    try dir.run(.unpack, "-t", "a.vma").succeeds()
    expectSame(try dir.run(.cat, "a.vma", "d").succeeds().output, Sample.efi)
  }

  @Test func `two members for one file`() throws {
    let disk = Archive.Disk("d", Sample.efi)
    let archives = [
      Archive([disk], configs: [Sample.config, Sample.config]),
      Archive([disk, disk]),
      Archive([disk], configs: [Archive.Config("disk-d.raw", "text")]),
      Archive(
        [Archive.Disk("vmstate", Sample.state)], configs: [Archive.Config("vmstate.bin", "")]),
    ]
    for archive in archives {
      try expectRefused(archive)
      try dir.run(.toTar, "a.vma").fails(65, .toTar)
    }
    try dir.write(archives[2].bytes(), to: "a.vma")
    try dir.run(.unpack, "--no-configs", "-C", "deep/out", "a.vma").succeeds()
    try dir.expect("deep/out/disk-d.raw", holds: Sample.efi)
  }

  @Test func `the longest possible names`() throws {
    let (config, drive) = (String(repeating: "c", count: 255), String(repeating: "d", count: 246))
    let archive = Archive(
      [Archive.Disk(drive, Sample.efi)], configs: [Archive.Config(config, "text")])
    try dir.write(archive.bytes(), to: "a.vma")
    try dir.run(.unpack, "-C", "deep/out", "a.vma").succeeds()
    try dir.expectNames([config, "disk-\(drive).raw"], in: "deep/out")
  }

  @Test(arguments: [
    " ", "-rf", "a b", "ü", "a\\b", "...", ".hidden", "~", "*", "$(x)", "disk-d.raw.partial",
  ])
  func `unusual but harmless names`(name: String) throws {
    let archive = Archive(
      [Archive.Disk(name, Sample.efi)], configs: [Archive.Config(name, "text")])
    try dir.write(archive.bytes(), to: "a.vma")
    try dir.run(.unpack, "-C", "deep/out", "a.vma").succeeds()
    try dir.expectNames([name, "disk-\(name).raw"], in: "deep/out")
    try dir.sh("mkdir tar; vma-to-tar a.vma | tar -x -C tar && diff -r tar deep/out").succeeds()
  }

  @Test func `text of an archive in an error is escaped`() throws {
    let name = "a\u{1b}]0;owned\u{07}\n\u{9b}31m\u{7f}b"
    var archive = Archive([Archive.Disk(name, Sample.efi), Archive.Disk("d", Sample.efi)])
    try dir.write(archive.bytes(), to: "a.vma")
    // Errors with the name of a member: missing, one of many, hostile, incomplete.
    var outcomes = try [
      (Tool.cat, dir.run(.cat, "a.vma")), (.cat, dir.run(.cat, "a.vma", "x")),
      (.unpack, dir.run(.unpack, "-C", "deep/out", "a.vma")),
      (.unpack, dir.run(.unpack, "-d", "x", "-C", "deep/out", "a.vma")),
      (.toTar, dir.run(.toTar, "a.vma")),
    ]
    archive.extents.removeLast()
    try dir.write(archive.bytes(), to: "a.vma")
    outcomes += try [
      (.unpack, dir.run(.unpack, "-t", "a.vma")), (.cat, dir.run(.cat, "a.vma", name)),
    ]
    for (tool, outcome) in outcomes {
      #expect(outcome.ending != .exit(0))
      #expect(outcome.complaint(about: tool) == nil, "\(outcome.errors.debugDescription)")
    }
  }

  @Test func `the name of the archive itself is escaped in an error`() throws {
    let name = "a\u{1b}[31m\nb.vma"
    try dir.run(.unpack, "-t", name).fails(66, .unpack)
    try dir.write(Sample.smallBytes.dropLast(1), to: name)
    try dir.run(.unpack, "-t", name).fails(65, .unpack)
    try dir.run(.cat, name).fails(65, .cat, silent: false)
    try dir.run(.pack, "-o", "x", "a\u{1b}\nb.img").fails(66, .pack)
    try dir.run(.unpack, "-d", "x\u{1b}\ny", name).fails(66, .unpack)
  }

  @Test func `existing symlinks are not followed`() throws {
    try dir.makeDirectory("outside")
    try dir.write("precious", to: "outside/file")
    try dir.write(Sample.smallBytes, to: "a.vma")
    for name in ["disk-drive-scsi0.raw", "qemu-server.conf"] {
      try dir.link("deep/out/\(name)", to: dir("outside/file"))
    }
    try dir.run(.unpack, "-C", "deep/out", "a.vma").fails(73, .unpack)
    try dir.run(.unpack, "-f", "-C", "deep/out", "a.vma").succeeds()
    try dir.expect("outside/file", holds: Array("precious".utf8))
    try dir.expectNames(["file"], in: "outside")
    try dir.expect("deep/out/disk-drive-scsi0.raw", holds: Sample.smallImage)
  }
}
