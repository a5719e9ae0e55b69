// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("-m restores in place")
struct UnpackMapTests {
  let dir: Scratch
  let old = Image.full(2 << 20, seed: 900)

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
  }

  /// The disk, and the previous bytes after it.
  private func restored(over old: [UInt8]) -> [UInt8] {
    Sample.scsi + old.dropFirst(Sample.scsi.count)
  }

  @Test(arguments: ["drive-scsi0", "scsi0"])
  func `zeros are written, bytes after the disk are kept`(name: String) throws {
    for size in [Sample.scsi.count, Sample.scsi.count + 1, old.count] {
      let before = Array(old.prefix(size))
      try dir.write(before, to: "target")
      try dir.run(.unpack, "-C", "out\(size)", "-m", "\(name)=target", "a.vma").succeeds()
      try dir.expect("target", holds: restored(over: before))
      try dir.write(before, to: "target")
      try dir.run(
        .unpack, "-d", "scsi0", "--no-configs", "--map", "\(name)=target",
        input: .pipe(Sample.wholeBytes)
      ).succeeds()
      try dir.expect("target", holds: restored(over: before))
    }
  }

  @Test func `it does not limit the selection`() throws {
    try dir.write(old, to: "target")
    try dir.run(.unpack, "-C", "out", "-m", "scsi0=target", "a.vma").succeeds()
    try dir.expectNames(Sample.wholeFiles.filter { $0 != "disk-drive-scsi0.raw" }, in: "out")
    try dir.expect("target", holds: restored(over: old))
    try dir.expect("out/disk-drive-efidisk0.raw", holds: Sample.efi)
    try dir.run(.unpack, "-d", "efidisk0", "-m", "scsi0=target", "a.vma").fails(64, .unpack)
    try dir.expect("target", holds: restored(over: old))
  }

  @Test func `--only selects only the drive`() throws {
    for name in ["drive-scsi0", "scsi0"] {
      for input in ["a.vma", "-"] {
        try dir.write(old, to: "target")
        try dir.run(
          .unpack, "--only", "\(name)=target", input, input: .pipe(Sample.wholeBytes)
        ).succeeds()
        try dir.expect("target", holds: restored(over: old))
      }
    }
    try dir.write(old, to: "other=2")
    try dir.run(
      .unpack, "--only=scsi0=target", "--only", "efidisk0=other=2", "--no-configs", "a.vma"
    ).succeeds()
    try dir.expect("other=2", holds: Sample.efi + old.dropFirst(Sample.efi.count))
    try dir.expectNames(["a.vma", "other=2", "target"])
  }

  private static let contradictions: [(String, Int32)] = [
    ("-d efidisk0", 64), ("-d scsi0", 64), ("-m efidisk0=target", 64), ("-C out", 64), ("-l", 64),
    ("-t", 64), ("--only drive-scsi0=other", 64), ("--only efidisk0", 64), ("--only =target", 64),
    ("--only efidisk0=", 64), ("--only efidisk0=target", 64), ("--only nothing=other", 66),
    ("--only qemu-server.conf=other", 66), ("--only efidisk0=missing", 73),
  ]

  @Test(arguments: contradictions)
  func `--only contradicts other selections`(arguments: String, status: Int32) throws {
    try dir.write(old, to: "target")
    try dir.write(old, to: "other")
    try dir.run(
      .unpack,
      ["--only", "scsi0=target", "a.vma"] + arguments.split(separator: " ").map(String.init)
    ).fails(status, .unpack)
    try dir.expect("target", holds: old)
    try dir.expect("other", holds: old)
    try dir.expectNames(["a.vma", "other", "target"])
  }

  @Test func `any order of clusters`() throws {
    let archive = Archive([Archive.Disk("d", Sample.scsi)], order: .shuffled(seed: 12))
    try dir.write(archive.bytes(), to: "b.vma")
    try dir.write(old, to: "target")
    try dir.run(.unpack, "-m", "d=target", "b.vma").succeeds()
    try dir.expect("target", holds: restored(over: old))
  }

  @Test func `two drives into two files`() throws {
    try dir.write(old, to: "one")
    try dir.write(old, to: "two=2")
    try dir.run(
      .unpack, "--no-configs", "-d", "scsi0", "-d", "efidisk0", "-m", "scsi0=one",
      "-m", "efidisk0=two=2", "a.vma"
    ).succeeds()
    try dir.expect("one", holds: restored(over: old))
    try dir.expect("two=2", holds: Sample.efi + old.dropFirst(Sample.efi.count))
    try dir.expectNames(["a.vma", "one", "two=2"])
  }

  @Test func `a disk whose end is in the middle of a block`() throws {
    let image = Image.zeros(540_672 - 512)
    try dir.write(Archive([Archive.Disk("d", image)]).bytes(), to: "b.vma")
    try dir.write(old, to: "target")
    try dir.run(.unpack, "-m", "d=target", "b.vma").succeeds()
    try dir.expect("target", holds: image + old.dropFirst(image.count))
  }

  @Test func `a target that is too small is 73 and not changed`() throws {
    let small = Array(old.prefix(Sample.scsi.count - 1))
    try dir.write(small, to: "target")
    for operand in ["a.vma", "-"] {
      try dir.run(
        .unpack, "-C", "out", "-m", "scsi0=target", operand, input: .pipe(Sample.wholeBytes)
      ).fails(73, .unpack, saying: "target")
    }
    try dir.expect("target", holds: small)
    if dir.exists("out") { try dir.expectNames([], in: "out") }
  }

  @Test func `a target must exist, be a file, and be seekable`() throws {
    try dir.makeDirectory("folder")
    try dir.makeFIFO("fifo")
    for target in ["missing", "no/such/file", "folder", "fifo", "/dev/null", "/dev/full"] {
      try dir.run(.unpack, "-C", "out", "-m", "scsi0=\(target)", "a.vma").fails(73, .unpack)
      if dir.exists("out") { try dir.expectNames([], in: "out") }
    }
    #expect(!dir.exists("missing"))
  }

  @Test func `a missing drive is 66, and so is a config`() throws {
    try dir.write(old, to: "target")
    for name in ["nothing", "qemu-server.conf"] {
      try dir.run(.unpack, "-C", "out", "-m", "\(name)=target", "a.vma").fails(66, .unpack)
    }
    try dir.expect("target", holds: old)
  }

  @Test func `two drives to one target is 64, whatever its names`() throws {
    try dir.write(old, to: "target")
    try dir.link("symlink", to: "target")
    #expect(Glibc.link(dir("target"), dir("hardlink")) == 0)
    for other in ["target", "./target", dir("target"), "symlink", "hardlink"] {
      try dir.run(
        .unpack, "-C", "out", "-m", "scsi0=target", "-m", "efidisk0=\(other)", "a.vma"
      ).fails(64, .unpack, other)
      try dir.expect("target", holds: old)
    }
  }

  @Test func `one drive to two targets is 64`() throws {
    try dir.write(old, to: "one")
    try dir.write(old, to: "two")
    try dir.run(.unpack, "-C", "out", "-m", "scsi0=one", "-m", "drive-scsi0=two", "a.vma")
      .fails(64, .unpack)
    try dir.expect("one", holds: old)
    try dir.expect("two", holds: old)
  }

  @Test func `if another file exists, the target is not changed`() throws {
    try dir.write(old, to: "target")
    try dir.makeDirectory("out")
    try dir.write("precious", to: "out/qemu-server.fw")
    try dir.run(.unpack, "-C", "out", "-m", "scsi0=target", "a.vma").fails(73, .unpack)
    try dir.expect("target", holds: old)
    try dir.expectNames(["qemu-server.fw"], in: "out")
  }

  @Test func `on failure the line says that the target is partly written`() throws {
    try dir.write(old, to: "target")
    let cut = Array(Sample.wholeBytes.dropLast(1))
    try dir.write(cut, to: "cut.vma")
    try dir.run(.unpack, "-C", "out", "-m", "scsi0=target", input: .pipe(cut))
      .fails(65, .unpack, saying: "partly written", "target")
    try dir.run(.unpack, "-C", "out", "-m", "scsi0=target", "cut.vma")
      .fails(65, .unpack)
    if dir.exists("out") { try dir.expectNames([], in: "out") }
    #expect(try dir.read("target").count == old.count)
  }

  @Test(requires(.loopDevices))
  func `a block device`() throws {
    try dir.write(old, to: "image")
    let device = try LoopDevice("image", in: dir)
    for input in [Input.file(dir("a.vma")), .pipe(Sample.wholeBytes)] {
      try dir.sh("cat > \(device.path) && blockdev --flushbufs \(device.path)", input: .pipe(old))
        .succeeds()
      try dir.run(
        .unpack, "-d", "scsi0", "--no-configs", "-m", "scsi0=\(device.path)", input: input
      ).succeeds()
      try dir.sh("blockdev --flushbufs \(device.path)").succeeds()
      expectSame(try dir.sh("cat \(device.path)").output, restored(over: old), "the device")
    }
  }

  @Test(requires(.loopDevices))
  func `a block device that is too small`() throws {
    try dir.write(old.prefix(524_288), to: "image")
    let device = try LoopDevice("image", in: dir)
    try dir.run(.unpack, "-C", "out", "-m", "scsi0=\(device.path)", "a.vma").fails(73, .unpack)
    expectSame(try dir.sh("cat \(device.path)").output, Array(old.prefix(524_288)))
  }

  @Test(requires(.loopDevices))
  func `a block device in use is 73 unless forced`() throws {
    try dir.write(old, to: "image")
    let device = try LoopDevice("image", in: dir)
    let claim = open(device.path, O_RDONLY | O_EXCL | O_CLOEXEC)
    try #require(claim >= 0)
    defer { close(claim) }
    let arguments = ["-d", "scsi0", "--no-configs", "-m", "scsi0=\(device.path)", "a.vma"]
    try dir.run(.unpack, arguments).fails(73, .unpack)
    expectSame(try dir.sh("cat \(device.path)").output, old)
    // As the output of the other tools, too.
    try dir.sh("vma-to-tar -o \(device.path) a.vma").fails(73, .toTar, saying: "is in use")
    try dir.sh("vma-pack -o \(device.path) a.vma").fails(73, .pack, saying: "is in use")
    expectSame(try dir.sh("cat \(device.path)").output, old)
    try dir.run(.unpack, ["-f"] + arguments).succeeds()
    expectSame(try dir.sh("cat \(device.path)").output, restored(over: old))
  }
}
