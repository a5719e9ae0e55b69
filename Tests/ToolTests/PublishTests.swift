// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Either all files get their names or none does, on any file system")
struct PublishTests {
  let dir: Scratch
  /// Calls that a file system may not support.
  static let lacks: [[String]] = [
    [], ["renameat2"], ["linkat"], ["tmpfile"], ["renameat2", "linkat"], ["renameat2", "tmpfile"],
    ["linkat", "tmpfile"], ["renameat2", "linkat", "tmpfile"],
  ]

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
  }

  private static func environment(_ lacks: [String]) -> [String: String] {
    [
      "VMA_FAULT": lacks.map { "\($0):*:\($0 == "renameat2" ? "EINVAL" : "EPERM")" }.joined(
        separator: ",")
    ]
  }

  /// Starts a tool that waits for the rest of its archive.
  private func stall(
    _ tool: Tool, _ arguments: [String], _ environment: [String: String]
  ) throws -> Running {
    let running = try dir.start(tool, arguments, input: .open, environment: environment)
    running.send(Sample.wholeBytes.prefix(Sample.wholeBytes.count / 2))
    #expect(running.wait { running.hasTakenAll })
    return running
  }

  private func finish(_ running: Running) -> Outcome {
    running.send(Sample.wholeBytes.dropFirst(Sample.wholeBytes.count / 2))
    return running.finish()
  }

  /// All names in `out`, without hidden ones, have these contents, or the archive's own.
  private func expectOut(old: [String: String]) throws {
    try dir.expectNames(old.keys.sorted(), in: "out")
    for (name, text) in old { try dir.expect("out/\(name)", holds: Array(text.utf8)) }
  }

  @Test("B4: files appear, whatever the file system does not support", arguments: lacks)
  func appear(lacks: [String]) throws {
    let environment = Self.environment(lacks)
    for options in [["-C", "out"], ["-f", "-C", "out"], ["-f", "-C", "out", "--salvage"]] {
      try dir.run(.unpack, options + ["a.vma"], environment: environment).succeeds()
      try dir.expectWhole(in: "out")
    }
    try dir.run(.unpack, ["-C", "out", "a.vma"], environment: environment).fails(73, .unpack)
    for _ in 0..<2 {
      try dir.run(.toTar, ["-fo", "t.tar", "a.vma"], environment: environment).succeeds()
      try dir.sh("vma-to-tar a.vma | cmp - t.tar").succeeds()
      try dir.expectNames(["a.vma", "out", "t.tar"])
    }
  }

  @Test("B4: a file that appears meanwhile is not overwritten", arguments: lacks)
  func appearsMeanwhile(lacks: [String]) throws {
    let environment = Self.environment(lacks)
    for (number, name) in Sample.wholeFiles.enumerated() {
      try dir.sh("rm -rf out; mkdir out").succeeds()
      let running = try stall(.unpack, ["-C", "out"], environment)
      try dir.sh(number % 2 == 0 ? "echo mine > out/\(name)" : "mkdir out/\(name)").succeeds()
      finish(running).fails(73, .unpack, saying: name)
      try dir.expectNames([name], in: "out")
    }
  }

  @Test("B4: -f never replaces a directory", arguments: lacks)
  func directory(lacks: [String]) throws {
    let environment = Self.environment(lacks)
    for name in Sample.wholeFiles {
      try dir.sh("rm -rf out; mkdir out").succeeds()
      // Old files, which must not change.
      var old: [String: String] = [:]
      for other in Sample.wholeFiles where other != name && !other.hasSuffix(".fw") {
        old[other] = "old \(other)"
        try dir.write("old \(other)", to: "out/\(other)")
      }
      let running = try stall(.unpack, ["-f", "-C", "out"], environment)
      try dir.sh("mkdir out/\(name); echo mine > out/\(name)/file").succeeds()
      finish(running).fails(73, .unpack, saying: name, "directory")
      try dir.expect("out/\(name)/file", holds: Array("mine\n".utf8))
      try dir.sh("rm -r out/\(name)").succeeds()
      try expectOut(old: old)
    }
    let running = try stall(.toTar, ["-fo", "t.tar"], environment)
    try dir.sh("mkdir t.tar; touch t.tar/file").succeeds()
    finish(running).fails(73, .toTar, saying: "t.tar", "directory")
    let packing = try dir.start(
      .pack, ["-fo", "t.tar", "--size", "d=512", "d=-"], input: .open, environment: environment)
    packing.send(Image.zeros(512))
    packing.finish().fails(73, .pack, saying: "t.tar", "irectory")
    try dir.expectNames(["file"], in: "t.tar")
    try dir.expectNames(["a.vma", "out", "t.tar"])
  }

  @Test("B4: exFAT, which supports neither links nor flags of rename", requires(.exFAT))
  func exFAT() throws {
    let mount = try Mount.exFAT("m", in: dir)
    for options in ["", "-f", "-f --salvage"] {
      try dir.sh("vma-unpack \(options) -C m/out a.vma").succeeds()
      try dir.expectWhole(in: "m/out")
    }
    try dir.sh("vma-unpack -C m/out a.vma").fails(73, .unpack, saying: "already exists")
    let running = try stall(.unpack, ["-f", "-C", "m/out"], [:])
    try dir.sh("rm m/out/vmstate.bin; mkdir m/out/vmstate.bin").succeeds()
    finish(running).fails(73, .unpack, saying: "vmstate.bin")
    try dir.sh("rmdir m/out/vmstate.bin; ls -A m/out").succeeds()
    try dir.expectNames(Sample.wholeFiles.filter { $0 != "vmstate.bin" }, in: "m/out")
    // A name that this file system does not support is reported before the archive is read.
    var archive = Archive([Archive.Disk("x", Sample.efi)])
    archive.devices[0].blob = Array("a:b".utf8) + [0]
    let refused = try dir.start(.unpack, ["-C", "m/new", "-"], input: .open)
    refused.send(archive.headerBytes())
    refused.finish(within: 20, closingInput: false).fails(73, .unpack, saying: "disk-a:b.raw")
    withExtendedLifetime(mount) {}
  }

  @Test("B4: different names that the file system treats as one are not one file", requires(.exFAT))
  func oneName() throws {
    let mount = try Mount.exFAT("m", in: dir)
    let archive = Archive([Archive.Disk("a", Sample.efi), Archive.Disk("A", Sample.scsi)])
    try dir.write(archive.bytes(), to: "b.vma")
    try dir.sh("vma-unpack -C m/out b.vma").fails(73, .unpack)
    // The program of this file system may crash; then remaining files are reported, too.
    #expect(try dir.sh("vma-unpack -f -C m/out b.vma").ending == .exit(73))
    withExtendedLifetime(mount) {}
  }

  @Test(
    "B7: a file that cannot be replaced is reported before anything is read",
    requires(.fileAttributes)
  )
  func immutable() throws {
    try dir.write("fixed", to: "t.tar")
    for flag in ["i", "a"] {
      guard try dir.sh("chattr +\(flag) t.tar").ending == .exit(0) else { return }
      defer { _ = try? dir.sh("chattr -\(flag) t.tar") }
      let running = try dir.start(.toTar, ["-fo", "t.tar", "-"], input: .open)
      running.send(Sample.wholeBytes.prefix(20_000))
      running.finish(within: 20, closingInput: false).fails(73, .toTar, saying: "t.tar")
    }
    try dir.makeDirectory("out")
    try dir.write("fixed", to: "out/vmstate.bin")
    try dir.sh("chattr +a out").succeeds()
    defer { _ = try? dir.sh("chattr -a out") }
    let running = try dir.start(.unpack, ["-f", "-C", "out", "-"], input: .open)
    running.send(Sample.wholeBytes.prefix(20_000))
    running.finish(within: 20, closingInput: false).fails(73, .unpack, saying: "vmstate.bin")
    try dir.expectNames(["vmstate.bin"], in: "out")
  }
}
