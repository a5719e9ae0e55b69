// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("The members of a tar: selection, order and attributes")
struct TarTests {
  let dir: Scratch
  /// Prints all attributes of each member that tar supports: name, size, mode, owners, time, type.
  static let lister = """
    import sys, tarfile
    for m in tarfile.open(sys.argv[1]):
        print(m.name, m.size, oct(m.mode), m.uid, m.gid, repr(m.uname + m.gname), int(m.mtime),
              m.isreg(), sep="|")
    """

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.write(Self.lister, to: "list.py")
  }

  private func names(_ arguments: String) throws -> [String] {
    try dir.sh("vma-to-tar \(arguments) a.vma | tar -t").succeeds().lines
  }

  @Test(requires("python3"), arguments: ["", "--no-sparse", "--format gnutar", "--format ustar"])
  func `configs first, then disks, the VM state last, all without owners`(options: String) throws {
    try dir.sh("vma-to-tar \(options) a.vma > t.tar").succeeds()
    let members = [
      ("qemu-server.conf", Sample.config.data.count),
      ("qemu-server.fw", Sample.firewall.data.count),
      ("disk-drive-efidisk0.raw", Sample.efi.count), ("disk-drive-scsi0.raw", Sample.scsi.count),
      ("vmstate.bin", Sample.state.count),
    ]
    let expected = members.map { "\($0.0)|\($0.1)|0o600|0|0|''|1600000000|True" }
    #expect(try dir.sh("python3 list.py t.tar").succeeds().lines == expected)
  }

  @Test(arguments: ["", "--no-sparse", "--format gnutar", "--format ustar", "--prefix x"])
  func `the same archive always gives the same tar`(options: String) throws {
    try dir.sh(
      """
      vma-to-tar \(options) a.vma > one; sleep 1.1
      vma-to-tar \(options) a.vma > two; cat a.vma | vma-to-tar \(options) > three
      vma-to-tar \(options) - -o four < a.vma
      umask 077; vma-to-tar \(options) a.vma | cat > five
      for other in two three four five; do cmp one $other || exit; done
      """
    ).succeeds()
  }

  @Test func `it ends as a tar must`() throws {
    try dir.sh("vma-to-tar a.vma > t.tar").succeeds()
    let tar = try dir.read("t.tar")
    #expect(tar.count % 512 == 0)
    expectSame(Array(tar.suffix(1024)), Image.zeros(1024))
  }

  @Test(requires("tar"))
  func `selected drives, under a prefix`() throws {
    #expect(
      try names("") == [
        "qemu-server.conf", "qemu-server.fw", "disk-drive-efidisk0.raw", "disk-drive-scsi0.raw",
        "vmstate.bin",
      ])
    let one = try names("-d scsi0")
    #expect(one.filter { !$0.hasPrefix("qemu-server") } == ["disk-drive-scsi0.raw"])
    let two = try names("-d drive-scsi0 -d drive-efidisk0")
    #expect(
      two.filter { $0.hasPrefix("disk-") }.sorted() == [
        "disk-drive-efidisk0.raw", "disk-drive-scsi0.raw",
      ])
    for prefix in ["vm/100", "vm/100/"] {
      let prefixed = try names("--prefix \(prefix)").filter { !$0.hasSuffix("/") }
      #expect(
        prefixed == [
          "vm/100/qemu-server.conf", "vm/100/qemu-server.fw", "vm/100/disk-drive-efidisk0.raw",
          "vm/100/disk-drive-scsi0.raw", "vm/100/vmstate.bin",
        ])
    }
  }

  @Test(requires("tar"))
  func `the prefix is a part of the restored path`() throws {
    try dir.sh("mkdir out; vma-to-tar --prefix vm/100 a.vma | tar -x -C out").succeeds()
    try dir.expectWhole(in: "out/vm/100")
  }

  @Test func `an archive without devices gives its configs`() throws {
    try dir.write(Archive([], configs: [Sample.config]).bytes(), to: "b.vma")
    #expect(try dir.sh("vma-to-tar b.vma | tar -t").succeeds().lines == ["qemu-server.conf"])
    try dir.write(Archive([]).bytes(), to: "b.vma")
    #expect(try dir.sh("vma-to-tar b.vma | tar -t").succeeds().lines == [])
  }

  @Test(requires("tar"), arguments: [Int64.min, -1, 8_589_934_592, .max], ["pax", "gnutar"])
  func `GNU tar accepts any creation time`(time: Int64, format: String) throws {
    try dir.write(Sample.scsi, to: "d.img")
    try dir.sh(
      """
      vma-pack --ctime=\(time) d=d.img | vma-to-tar --format \(format) > d.tar
      tar --warning=no-timestamp -xf d.tar && cmp d.img disk-d.raw
      """
    ).succeeds()
  }

  @Test(requires("tar"))
  func `a VM state longer than its header says`() throws {
    var archive = Archive(
      [Archive.Disk("vmstate", Sample.state), Archive.Disk("d", Sample.efi)], order: .interleaved)
    archive.devices[0].size = 512
    try dir.write(archive.bytes(), to: "b.vma")
    for options in ["", "--no-sparse", "--format gnutar"] {
      for source in ["vma-to-tar \(options) b.vma", "cat b.vma | vma-to-tar \(options)"] {
        try dir.sh("\(source) | tar -xO vmstate.bin > state").succeeds()
        try dir.expect("state", holds: Sample.state)
      }
    }
  }

  @Test(arguments: [
    ["--format", "zip"], ["--layout", "round"], ["--what"], ["a.vma"], ["--progress", "x"],
    ["--layout", "pve", "--format", "pax"], ["--layout", "pve", "--format", "ustar"],
    ["--layout", "pve", "-d", "scsi0"], ["--layout", "pve", "--prefix", "x"],
  ])
  func `wrong usage is 64`(options: [String]) throws {
    try dir.run(.toTar, options + ["a.vma"]).fails(64, .toTar)
    try dir.run(.toTar, options + ["-o", "t.tar", "a.vma"]).fails(64, .toTar)
    #expect(!dir.exists("t.tar"))
  }

  @Test(arguments: ["nothing", "qemu-server.conf"])
  func `a missing drive is 66`(name: String) throws {
    try dir.run(.toTar, "-d", name, "a.vma").fails(66, .toTar)
    try dir.run(.toTar, "-d", name, input: .pipe(Sample.wholeBytes)).fails(66, .toTar)
    try dir.run(.toTar, "missing.vma").fails(66, .toTar, saying: "missing.vma")
    try dir.run(.toTar, input: .terminal).fails(64, .toTar)
  }

  @Test func `an output appears when it is complete`() throws {
    try dir.run(.toTar, "-o", "t.tar", "a.vma").succeeds()
    let whole = try dir.read("t.tar")
    expectSame(try dir.run(.toTar, "a.vma").succeeds().output, whole)
    try dir.write("precious", to: "t.tar")
    try dir.run(.toTar, "-o", "t.tar", "a.vma").fails(73, .toTar, saying: "t.tar")
    try dir.run(.toTar, "--output", "t.tar", input: .pipe(Sample.wholeBytes)).fails(73, .toTar)
    let cut = Array(Sample.wholeBytes.dropLast(1))
    try dir.run(.toTar, "-f", "-o", "t.tar", input: .pipe(cut)).fails(65, .toTar)
    try dir.expect("t.tar", holds: Array("precious".utf8))
    try dir.run(.toTar, "-f", "-o", "t.tar", "a.vma").succeeds()
    try dir.expect("t.tar", holds: whole)
    try dir.run(.toTar, "-o", "no/such/t.tar", "a.vma").fails(73, .toTar)
    try dir.expectNames(["a.vma", "list.py", "t.tar"])
  }

  @Test(arguments: ["", "--no-sparse", "--format gnutar", "--format ustar"])
  func `after a failure there are no end-of-archive blocks`(options: String) throws {
    let full = Archive([Archive.Disk("d", Image.full(1 << 20, seed: 1))], perExtent: 3)
    var incomplete = full
    incomplete.extents.removeLast()
    let broken = [incomplete.bytes(), Array(full.bytes().dropLast(5000)), full.bytes() + [0]]
    for bytes in broken {
      try dir.write(bytes, to: "b.vma")
      for source in ["vma-to-tar \(options) b.vma", "cat b.vma | vma-to-tar \(options)"] {
        let outcome = try dir.sh(source).fails(65, .toTar, silent: false)
        if outcome.output.count >= 1024 {
          #expect(outcome.output.suffix(1024).contains { $0 != 0 }, "\(source)")
        }
      }
    }
  }

  @Test(
    requires("tar", "bsdtar", "python3", "busybox"),
    arguments: ["", "--no-sparse", "--format gnutar", "--format ustar"],
    [
      "tar -x", "bsdtar -xf -", "busybox tar -x",
      "python3 -c 'import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode=\"r|\").extractall()'",
    ])
  func `after a failure each reader fails`(options: String, reader: String) throws {
    var archive = Sample.whole
    archive.extents.removeLast()
    for bytes in [archive.bytes(), Array(Sample.wholeBytes.dropLast(5000))] {
      try dir.write(bytes, to: "b.vma")
      let run = try dir.sh(
        "cat b.vma | vma-to-tar \(options) 2>&- | \(reader) 2>&1; echo ${PIPESTATUS[*]} >&2")
      let statuses = run.errors.split(separator: " ").map(String.init)
      #expect(statuses[1] == "65", "\(run.errors)")
      #expect(statuses[2].first != "0", "\(reader): \(run.errors)")
    }
  }

  @Test func `missing clusters of an unselected drive do not matter`() throws {
    var archive = Sample.whole
    archive.extents.removeLast()
    try dir.write(archive.bytes(), to: "b.vma")
    try dir.run(.toTar, "-d", "efidisk0", "b.vma").succeeds()
    try dir.run(.toTar, "-d", "efidisk0", input: .pipe(archive.bytes())).succeeds()
    try dir.run(.toTar, "b.vma").fails(65, .toTar, silent: false)
  }
}
