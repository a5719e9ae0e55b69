// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("vma-cat writes one member, in order")
struct CatTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
  }

  /// From a file, a redirection and a pipe.
  private func cat(
    _ bytes: [UInt8], _ arguments: [String], gives expected: [UInt8],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try dir.write(bytes, to: "b.vma")
    let inputs: [(String, Input)] = [
      ("b.vma", .nothing), ("-", .file(dir("b.vma"))), ("-", .pipe(bytes)),
    ]
    for (operand, input) in inputs {
      let outcome = try dir.run(.cat, [operand] + arguments, input: input)
      outcome.succeeds(sourceLocation: sourceLocation)
      expectSame(outcome.output, expected, outcome.command, sourceLocation: sourceLocation)
    }
  }

  @Test(arguments: [
    ("drive-scsi0", Sample.scsi), ("scsi0", Sample.scsi), ("efidisk0", Sample.efi),
    ("drive-efidisk0", Sample.efi), ("vmstate", Sample.state),
    ("qemu-server.conf", Sample.config.data), ("qemu-server.fw", Sample.firewall.data),
  ])
  func `a drive, a config, the VM state`(name: String, expected: [UInt8]) throws {
    try cat(Sample.wholeBytes, [name], gives: expected)
  }

  @Test func `an exact drive has priority over a config, a config over drive-`() throws {
    let images = (1...3).map { Image.full(512 * $0, seed: UInt64($0)) }
    let disks = [
      Archive.Disk("drive-scsi0", images[0]), Archive.Disk("scsi0", images[1]),
      Archive.Disk("drive-ide0", images[2]),
    ]
    let configs = [Archive.Config("scsi0", "one"), Archive.Config("ide0", "two")]
    let bytes = Archive(disks, configs: configs).bytes()
    try cat(bytes, ["scsi0"], gives: images[1])
    try cat(bytes, ["drive-scsi0"], gives: images[0])
    try cat(bytes, ["ide0"], gives: Array("two".utf8))
    try cat(bytes, ["drive-ide0"], gives: images[2])
  }

  @Test func `the only drive needs no name`() throws {
    try cat(Sample.smallBytes, [], gives: Sample.smallImage)
    var archive = Archive(
      [Archive.Disk("d", Sample.efi), Archive.Disk("vmstate", Sample.state)],
      configs: [Sample.config], order: .interleaved)
    try cat(archive.bytes(), [], gives: Sample.efi)
    archive.configs = []
    try cat(archive.bytes(), [], gives: Sample.efi)
  }

  @Test func `several drives and no name is 64, with the list`() throws {
    try dir.run(.cat, "a.vma").fails(64, .cat, saying: "drive-efidisk0", "drive-scsi0")
    try dir.run(.cat, "-", input: .pipe(Sample.wholeBytes)).fails(64, .cat, saying: "drive-scsi0")
  }

  @Test func `an archive without drives is 66`() throws {
    let state = Archive([Archive.Disk("vmstate", Sample.state)], configs: [Sample.config])
    for archive in [Archive([]), Archive([], configs: [Sample.config]), state] {
      try dir.write(archive.bytes(), to: "b.vma")
      try dir.run(.cat, "b.vma").fails(66, .cat)
      try dir.run(.cat, "-", input: .pipe(archive.bytes())).fails(66, .cat)
    }
  }

  @Test(arguments: ["nothing", "drive-", "SCSI0", "qemu-server", "disk-drive-scsi0.raw"])
  func `a missing member is 66`(name: String) throws {
    try dir.run(.cat, "a.vma", name).fails(66, .cat, saying: name)
    try dir.run(.cat, "-", name, input: .pipe(Sample.wholeBytes)).fails(66, .cat)
  }

  @Test(arguments: [
    [], ["a.vma", "scsi0", "more"], ["--offset", "x", "a.vma", "scsi0"],
    ["--length", "-1", "a.vma", "scsi0"], ["--offset", "", "a.vma", "scsi0"], ["--what", "a.vma"],
    ["--offset", "1Q", "a.vma", "scsi0"], ["--progress", "no", "a.vma", "scsi0"],
  ])
  func `wrong usage is 64`(arguments: [String]) throws {
    try dir.run(.cat, arguments).fails(64, .cat)
  }

  @Test func `an archive that cannot be opened is 66`() throws {
    try dir.run(.cat, "missing.vma").fails(66, .cat, saying: "missing.vma")
    try dir.run(.cat, "no/such.vma", "scsi0").fails(66, .cat)
  }

  @Test func `configs of zero bytes and of the maximum size`() throws {
    let largest = Image.full(65535, seed: 8)
    let archive = Archive(
      [],
      configs: [
        Archive.Config("none", ""), Archive.Config(name: "most", data: largest),
      ])
    try cat(archive.bytes(), ["none"], gives: [])
    try cat(archive.bytes(), ["most"], gives: largest)
  }

  @Test func `a config on a terminal is shown without its control characters`() throws {
    let archive = Archive([], configs: [Archive.Config("c", "a\u{1b}[31m\tb\nc\u{7f}\r\u{0}")])
    try dir.write(archive.bytes(), to: "b.vma")
    let shown = try dir.run(.cat, "b.vma", "c", output: .terminal).succeeds().text
    #expect(shown.lowercased().hasPrefix("a\\x1b[31m\tb\r\nc\\x7f\\x0d\\x00"))
    let piped = try dir.run(.cat, "b.vma", "c").succeeds().output
    expectSame(piped, archive.configs[0].data)
    try dir.run(.cat, "a.vma", "scsi0", output: .terminal).fails(64, .cat)
  }

  @Test func `any member's name is accepted`() throws {
    for name in ["../x", "/abs", "a/b", ".", "..", "a\u{1b}b", "x y", "a\nb", "ü"] {
      let archive = Archive(
        [Archive.Disk(name, Sample.efi)], configs: [Archive.Config("c" + name, "text")])
      try cat(archive.bytes(), [name], gives: Sample.efi)
      try cat(archive.bytes(), [], gives: Sample.efi)
      try cat(archive.bytes(), ["c" + name], gives: Array("text".utf8))
    }
    try dir.expectNames(["a.vma", "b.vma"])
  }

  @Test(arguments: 0..<6)
  func `clusters in any order are written in disk order`(seed: UInt64) throws {
    let disks = [
      Archive.Disk("a", Image.mixed(2_621_952, seed: seed)),
      Archive.Disk("b", Image.mixed(66_048, seed: seed + 50)),
    ]
    let order: ClusterOrder =
      switch seed {
      case 0: .interleaved
      case 1: .reversed
      default: .shuffled(seed: seed)
      }
    let bytes = Archive(disks, order: order).bytes()
    for disk in disks { try cat(bytes, [disk.name], gives: disk.image) }
  }

  @Test func `a seekable archive needs no temporary file`() throws {
    let disk = Archive.Disk("d", Sample.scsi)
    let bytes = Archive([disk], order: .shuffled(seed: 2)).bytes()
    try dir.write(bytes, to: "b.vma")
    let nowhere = ["TMPDIR": "/no/such/directory"]
    let outcome = try dir.run(.cat, "b.vma", environment: nowhere).succeeds()
    expectSame(outcome.output, Sample.scsi)
    try dir.run(
      .toTar, "b.vma", "--tmpdir", "/no/such/directory", environment: nowhere
    ).succeeds()
  }

  @Test func `nor does an archive in disk order from a pipe`() throws {
    let nowhere = ["TMPDIR": "/no/such/directory"]
    let outcome = try dir.run(
      .cat, "--tmpdir", "/no/such/directory", "-", input: .pipe(Sample.smallBytes),
      environment: nowhere)
    expectSame(outcome.succeeds().output, Sample.smallImage)
    for options in [["--no-sparse"], ["--format", "gnutar"], ["--format", "ustar"]] {
      try dir.run(.toTar, options, input: .pipe(Sample.smallBytes), environment: nowhere)
        .succeeds()
    }
  }

  @Test func `a range of a config`() throws {
    let text = Array(Sample.configText.utf8)
    let outcome = try dir.run(
      .cat, "--offset", "6", "--length", "10", "a.vma", "qemu-server.conf")
    expectSame(outcome.succeeds().output, Array(text[6..<16]))
    try dir.run(.cat, "--offset", "\(text.count + 1)", "a.vma", "qemu-server.conf")
      .fails(64, .cat)
  }

  @Test func `the waiting room is in the directory of --tmpdir`() throws {
    let bytes = Archive([Archive.Disk("d", Sample.scsi)], order: .reversed).bytes()
    try dir.makeDirectory("room")
    let outcome = try dir.run(
      .cat, "--tmpdir", "room", "-", input: .pipe(bytes),
      environment: ["TMPDIR": "/no/such/directory"])
    expectSame(outcome.succeeds().output, Sample.scsi)
    try dir.expectNames([], in: "room")
  }

  @Test func `only the selected member must be complete`() throws {
    var archive = Sample.whole
    archive.extents.removeLast()
    try dir.write(archive.bytes(), to: "b.vma")
    try dir.run(.cat, "b.vma", "scsi0").fails(65, .cat, silent: false)
    expectSame(try dir.run(.cat, "b.vma", "efidisk0").succeeds().output, Sample.efi)
    expectSame(
      try dir.run(.cat, "-", "efidisk0", input: .pipe(archive.bytes())).succeeds().output,
      Sample.efi)
    try dir.run(.cat, "-", "scsi0", input: .pipe(archive.bytes())).fails(65, .cat, silent: false)
  }
}
