// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("vma-unpack creates only complete files, under their names")
struct UnpackTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
  }

  @Test(arguments: [
    "vma-unpack -C out a.vma", "vma-unpack --directory out a.vma", "vma-unpack -C out - < a.vma",
    "vma-unpack -C out < a.vma", "cat a.vma | vma-unpack -C out", "cat a.vma | vma-unpack -C out -",
    "mkdir out; vma-unpack -C out a.vma", "mkdir out; cd out; vma-unpack ../a.vma",
    "mkdir -p x/y; vma-unpack -C x/y/out a.vma; s=$?; mv x/y/out .; exit $s",
    "mkfifo f; cat a.vma > f & vma-unpack -C out f",
  ])
  func `every member from any source`(script: String) throws {
    try dir.sh(script).succeeds()
    try dir.expectWhole(in: "out")
  }

  @Test(arguments: 0..<6)
  func `any order of clusters`(seed: UInt64) throws {
    let disks = [
      Archive.Disk("a", Image.mixed(700_416, seed: seed)),
      Archive.Disk("b", Image.mixed(66_048, seed: seed + 10)),
      Archive.Disk("c", Image.mixed(3_801_600, seed: seed + 20)),
    ]
    let order: ClusterOrder =
      switch seed {
      case 0: .interleaved
      case 1: .reversed
      default: .shuffled(seed: seed)
      }
    let archive = Archive(disks, ids: [254, 1, 100], order: order, perExtent: 58)
    try dir.write(archive.bytes(), to: "b.vma")
    try dir.run(.unpack, "-C", "file", "b.vma").succeeds()
    try dir.sh("cat b.vma | vma-unpack -C pipe").succeeds()
    for target in ["file", "pipe"] {
      for disk in disks { try dir.expect("\(target)/disk-\(disk.name).raw", holds: disk.image) }
    }
  }

  @Test func `254 devices whose clusters are mixed`() throws {
    let disks = (1...254).map {
      Archive.Disk("d\($0)", Image.full(512 * (1 + $0 % 9), seed: UInt64($0)))
    }
    try dir.write(Archive(disks, order: .shuffled(seed: 5)).bytes(), to: "b.vma")
    try dir.run(.unpack, "-C", "out", "b.vma").succeeds()
    for disk in disks { try dir.expect("out/disk-\(disk.name).raw", holds: disk.image) }
  }

  @Test func `files are sparse and have exactly the disk's size`() throws {
    var image = Image.zeros(40 << 20)
    image[20 << 20] = 1
    let disks = [
      Archive.Disk("d", Array(image.dropLast(512))), Archive.Disk("z", Image.zeros(1 << 20)),
    ]
    let archive = Archive(disks, order: .interleaved)
    try dir.write(archive.bytes(), to: "b.vma")
    try dir.run(.unpack, "-C", "file", "b.vma").succeeds()
    try dir.sh("cat b.vma | vma-unpack -C pipe").succeeds()
    for target in ["file", "pipe"] {
      try dir.expect("\(target)/disk-d.raw", holds: Array(image.dropLast(512)))
      #expect(try dir.allocated("\(target)/disk-d.raw") <= clusterSize)
      try dir.expect("\(target)/disk-z.raw", holds: Image.zeros(1 << 20))
      #expect(try dir.allocated("\(target)/disk-z.raw") <= clusterSize)
    }
  }

  @Test(arguments: [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666), (0o027, 0o640)])
  func `modes are those that the umask allows`(mask: Int, mode: Int) throws {
    try dir.sh("umask \(String(mask, radix: 8)); vma-unpack -C out a.vma; chmod 755 out").succeeds()
    for name in Sample.wholeFiles {
      #expect(try #require(dir.status(of: "out/" + name)).st_mode == S_IFREG | mode_t(mode))
    }
  }

  // MARK: Selection

  @Test(arguments: [
    (["-d", "drive-scsi0"], ["disk-drive-scsi0.raw", "qemu-server.conf", "qemu-server.fw"]),
    (["-d", "scsi0", "--no-configs"], ["disk-drive-scsi0.raw"]),
    (["-d", "vmstate", "--no-configs"], ["vmstate.bin"]),
    (
      ["-d", "scsi0", "--drive", "efidisk0", "--no-configs"],
      ["disk-drive-efidisk0.raw", "disk-drive-scsi0.raw"]
    ),
    (["--no-configs"], ["disk-drive-efidisk0.raw", "disk-drive-scsi0.raw", "vmstate.bin"]),
    (["-d", "scsi0", "-d", "drive-scsi0", "--no-configs"], ["disk-drive-scsi0.raw"]),
  ])
  func `only selected members`(options: [String], expected: [String]) throws {
    try dir.run(.unpack, options + ["-C", "out", "a.vma"]).succeeds()
    try dir.expectNames(expected, in: "out")
    if expected.contains("disk-drive-scsi0.raw") {
      try dir.expect("out/disk-drive-scsi0.raw", holds: Sample.scsi)
    }
    if expected.contains("vmstate.bin") {
      try dir.expect("out/vmstate.bin", holds: Sample.state)
    }
  }

  @Test(arguments: ["nothing", "qemu-server.conf", "drive-", "SCSI0", "", "drive-drive-scsi0"])
  func `a missing drive is 66`(name: String) throws {
    try dir.makeDirectory("out")
    try dir.run(.unpack, "-d", name, "-C", "out", "a.vma").fails(66, .unpack)
    try dir.run(.unpack, "-d", name, "-C", "out", input: .pipe(Sample.wholeBytes))
      .fails(66, .unpack)
    try dir.expectNames([], in: "out")
  }

  @Test func `an exact name has priority over drive-`() throws {
    let (exact, prefixed) = (Image.full(512, seed: 1), Image.full(1024, seed: 2))
    let archive = Archive([Archive.Disk("drive-scsi0", prefixed), Archive.Disk("scsi0", exact)])
    try dir.write(archive.bytes(), to: "b.vma")
    try dir.run(.unpack, "-d", "scsi0", "-C", "out", "b.vma").succeeds()
    try dir.expectNames(["disk-scsi0.raw"], in: "out")
    try dir.expect("out/disk-scsi0.raw", holds: exact)
  }

  @Test func `missing clusters matter only for selected drives`() throws {
    var archive = Sample.whole
    let extent = archive.extents.indices.last ?? 0
    let slot = try #require(
      archive.extents[extent].slots.lastIndex { $0?.device == 2 && $0?.cluster != 0 })
    archive.extents[extent].slots[slot] = nil
    try dir.write(archive.bytes(), to: "b.vma")
    try dir.run(.unpack, "-d", "efidisk0", "-C", "one", "b.vma").succeeds()
    try dir.expect("one/disk-drive-efidisk0.raw", holds: Sample.efi)
    try dir.run(.unpack, "-d", "scsi0", "-C", "two", "b.vma").fails(65, .unpack)
    try dir.run(.unpack, "-C", "three", "b.vma").fails(65, .unpack)
    for target in ["two", "three"] where dir.exists(target) {
      try dir.expectNames([], in: target)
    }
  }

  @Test(requires(.tracing))
  func `files are synced before they get their names`() throws {
    try dir.sh(
      "strace -f -o log -e trace=file,fsync,fdatasync,syncfs vma-unpack -C out a.vma"
    ).succeeds()
    let calls = String(decoding: try dir.read("log"), as: UTF8.self).split(separator: "\n")
    let naming = [" rename", " link"]
    let first = try #require(
      calls.firstIndex { call in
        naming.contains { call.contains($0) } && !call.contains("EEXIST")
      })
    let synced = calls[..<first].filter { $0.contains("sync(") || $0.contains("syncfs(") }
    #expect(synced.count >= Sample.wholeFiles.count || synced.contains { $0.contains("syncfs") })
  }

  // MARK: Existing files

  @Test(arguments: Sample.wholeFiles)
  func `an existing file is 73, and nothing is written`(name: String) throws {
    try dir.makeDirectory("out")
    try dir.write("precious", to: "out/\(name)")
    try dir.run(.unpack, "-C", "out", "a.vma").fails(73, .unpack, saying: name)
    try dir.run(.unpack, "-C", "out", input: .pipe(Sample.wholeBytes)).fails(73, .unpack)
    try dir.expectNames([name], in: "out")
    try dir.expect("out/\(name)", holds: Array("precious".utf8))
    try dir.run(.unpack, "-f", "-C", "out", "a.vma").succeeds()
    try dir.expectWhole(in: "out")
  }

  @Test func `a file that is not selected may exist`() throws {
    try dir.makeDirectory("out")
    try dir.write("precious", to: "out/disk-drive-efidisk0.raw")
    try dir.write("precious", to: "out/qemu-server.fw")
    try dir.run(.unpack, "-d", "scsi0", "--no-configs", "-C", "out", "a.vma").succeeds()
    try dir.expect("out/disk-drive-efidisk0.raw", holds: Array("precious".utf8))
  }

  @Test(arguments: ["target", "nowhere", "."])
  func `a symlink exists, and is itself replaced`(target: String) throws {
    try dir.makeDirectory("out")
    try dir.write("precious", to: "out/target")
    try dir.link("out/disk-drive-scsi0.raw", to: target)
    try dir.link("out/qemu-server.fw", to: target)
    let before = try dir.names(in: "out")
    try dir.run(.unpack, "-C", "out", "a.vma").fails(73, .unpack)
    try dir.expectNames(before, in: "out")
    try dir.run(.unpack, "-f", "-C", "out", "a.vma").succeeds()
    try dir.expect("out/target", holds: Array("precious".utf8))
    #expect(!dir.exists("out/nowhere"))
    for name in ["disk-drive-scsi0.raw", "qemu-server.fw"] {
      #expect(try #require(dir.status(of: "out/" + name)).st_mode & S_IFMT == S_IFREG)
    }
    try dir.expect("out/disk-drive-scsi0.raw", holds: Sample.scsi)
  }

  @Test func `a directory is never replaced`() throws {
    try dir.makeDirectory("out")
    try dir.makeDirectory("out/disk-drive-scsi0.raw")
    for options in [[], ["-f"]] {
      try dir.run(.unpack, options + ["-C", "out", "a.vma"]).fails(73, .unpack)
      try dir.expectNames(["disk-drive-scsi0.raw"], in: "out")
      try dir.expectNames([], in: "out/disk-drive-scsi0.raw")
    }
  }

  @Test func `forced on a damaged archive, the old file is kept`() throws {
    try dir.makeDirectory("out")
    for name in Sample.wholeFiles { try dir.write("precious", to: "out/\(name)") }
    let cut = Array(Sample.wholeBytes.dropLast(1))
    try dir.run(.unpack, "-f", "-C", "out", input: .pipe(cut)).fails(65, .unpack)
    try dir.expectNames(Sample.wholeFiles, in: "out")
    for name in Sample.wholeFiles {
      try dir.expect("out/\(name)", holds: Array("precious".utf8))
    }
  }

  @Test func `only the last component of -C is created`() throws {
    try dir.run(.unpack, "-C", "no/such", "a.vma").fails(73, .unpack)
    #expect(!dir.exists("no"))
    try dir.write("", to: "file")
    try dir.run(.unpack, "-C", "file", "a.vma").fails(73, .unpack)
    try dir.run(.unpack, "-C", "file/x", "a.vma").fails(73, .unpack)
    try dir.run(.unpack, "-C", "/dev/null/x", "a.vma").fails(73, .unpack)
  }

  @Test func `a full disk is 74 and leaves nothing`() throws {
    try dir.run(.unpack, ["-C", "out", "a.vma"], fault: "pwrite:3:ENOSPC").fails(74, .unpack)
    // A limit is reported before anything is written.
    try dir.sh("trap '' XFSZ; ulimit -f 600; vma-unpack -C out a.vma").fails(73, .unpack)
    if dir.exists("out") { try dir.expectNames([], in: "out") }
  }
}
