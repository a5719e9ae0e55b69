// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("A packed disk is unpacked byte for byte")
struct RoundTripTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  @Test(arguments: [512, 4096, 4608, 65024, 65536, 66048, 540_672, 3_801_088 + 512])
  func `a disk of any size`(size: Int) throws {
    let image = Image.mixed(size, seed: UInt64(size))
    try dir.write(image, to: "disk.img")
    try dir.run(.pack, "-o", "a.vma", "drive-scsi0=disk.img").succeeds()

    let parsed = ParsedArchive(try dir.read("a.vma"))
    #expect(parsed.faults == [])
    expectSame(try parsed.image("drive-scsi0"), image, "as the format says")

    try dir.run(.unpack, "-C", "file", "a.vma").succeeds()
    try dir.run(.unpack, "-C", "pipe", input: .pipe(dir.read("a.vma"))).succeeds()
    for target in ["file", "pipe"] {
      try dir.expectNames(["disk-drive-scsi0.raw"], in: target)
      try dir.expect("\(target)/disk-drive-scsi0.raw", holds: image)
    }
    expectSame(try dir.run(.cat, "a.vma").succeeds().output, image, "vma-cat of a file")
    expectSame(
      try dir.run(.cat, "-", input: .pipe(dir.read("a.vma"))).succeeds().output, image,
      "vma-cat of a pipe")
    try dir.sh("vma-to-tar a.vma | tar -xO > from-tar").succeeds()
    try dir.expect("from-tar", holds: image)
    try dir.sh("cat a.vma | vma-to-tar | tar -xO > from-tar").succeeds()
    try dir.expect("from-tar", holds: image)
  }

  @Test func `a sparse disk of many megabytes stays small everywhere`() throws {
    let size = 300 << 20
    let parts = [0, 70 << 20, (200 << 20) - 4096, size - 512]
    try dir.resize("disk.img", to: size)
    for part in parts {
      try dir.put(Image.full(512, seed: UInt64(part)), into: "disk.img", at: part)
    }

    try dir.sh("vma-pack disk.img | tee a.vma | vma-unpack -C out").succeeds()
    try dir.sh("cmp disk.img out/disk-disk0.raw").succeeds()
    #expect(try dir.read("a.vma").count < 200_000)
    #expect(try dir.allocated("out/disk-disk0.raw") < 1 << 20)
    try dir.sh("vma-cat a.vma > cat.img && cmp disk.img cat.img").succeeds()
    #expect(try dir.allocated("cat.img") < 1 << 20)
    try dir.sh("vma-to-tar a.vma | tar -x && cmp disk.img disk-disk0.raw").succeeds()
    #expect(try dir.allocated("disk-disk0.raw") < 1 << 20)
  }

  @Test func `a large hole takes only seconds`() throws {
    try dir.resize("disk.img", to: 1 << 37)
    try dir.put([42], into: "disk.img", at: 1 << 36)
    let started = Date()
    try dir.run(.pack, "-o", "a.vma", "disk.img").succeeds()
    let list = try dir.run(.unpack, "-l", "--json", "a.vma").succeeds().text
    #expect(list.contains("137438953472"))
    try dir.run(.unpack, "-t", "--quick", "a.vma").succeeds()
    let byte = try dir.run(.cat, "--offset", "64G", "--length", "1", "a.vma")
    expectSame(byte.succeeds().output, [42])
    // Two million clusters, in a debug build on a busy machine. Reading them would take an hour.
    #expect(Date().timeIntervalSince(started) < 900)
  }

  @Test func `several disks and configs`() throws {
    let sizes = [("drive-scsi0", 1 << 20), ("drive-efidisk0", 540_672), ("drive-virtio11", 512)]
    var arguments = ["-o", "a.vma"]
    for (name, size) in sizes {
      try dir.write(Image.mixed(size, seed: 7 + UInt64(size)), to: name)
      arguments.append("\(name)=\(name)")
    }
    let configs = ["empty.conf": 0, "small.conf": 281, "largest.conf": 65535]
    for (name, size) in configs {
      try dir.write(Image.full(size, seed: UInt64(size)), to: name)
      arguments += ["-c", name]
    }
    try dir.run(.pack, arguments).succeeds()
    #expect(ParsedArchive(try dir.read("a.vma")).faults == [])

    try dir.run(.unpack, "-C", "out", "a.vma").succeeds()
    try dir.expectNames(
      sizes.map { "disk-\($0.0).raw" } + configs.keys, in: "out")
    for (name, _) in sizes {
      try dir.expect("out/disk-\(name).raw", holds: dir.read(name))
      expectSame(try dir.run(.cat, "a.vma", name).succeeds().output, try dir.read(name), name)
    }
    for name in configs.keys {
      try dir.expect("out/\(name)", holds: dir.read(name))
      expectSame(try dir.run(.cat, "a.vma", name).succeeds().output, try dir.read(name), name)
    }
    try dir.sh("mkdir tar && vma-to-tar a.vma | tar -x -C tar && diff -r tar out").succeeds()
  }

  @Test func `254 disks`() throws {
    let image = Image.full(512, seed: 254)
    try dir.write(image, to: "disk.img")
    let disks = [String](repeating: "disk.img", count: 254)
    try dir.run(.pack, ["-o", "a.vma"] + disks).succeeds()
    #expect(ParsedArchive(try dir.read("a.vma")).faults == [])
    try dir.run(.unpack, "-C", "out", "a.vma").succeeds()
    try dir.expectNames((0..<254).map { "disk-disk\($0).raw" }, in: "out")
    try dir.expect("out/disk-disk253.raw", holds: image)

    let outcome = try dir.run(.pack, ["-o", "b.vma"] + disks + ["disk.img"])
    #expect(outcome.ending != .exit(0))
    #expect(outcome.complaint(about: .pack) == nil)
    #expect(!dir.exists("b.vma"))
  }

  @Test func `configs alone`() throws {
    try dir.write("cores: 4\n", to: "qemu-server.conf")
    try dir.run(.pack, "-o", "a.vma", "-c", "qemu-server.conf", "-c", "also=qemu-server.conf")
      .succeeds()
    let parsed = ParsedArchive(try dir.read("a.vma"))
    #expect(parsed.faults == [])
    #expect(parsed.configs.map(\.name) == ["qemu-server.conf", "also"])
    try dir.run(.unpack, "-t", "a.vma").succeeds()
    try dir.run(.unpack, "-C", "out", "a.vma").succeeds()
    try dir.expectNames(["also", "qemu-server.conf"], in: "out")
    try dir.sh("vma-to-tar a.vma | tar -t | sort | xargs").succeeds()
  }

  @Test(arguments: [1, 65536, 100_000, 262_144])
  func `a VM state of any size is padded, and its zeros are kept`(size: Int) throws {
    let image = Image.mixed(size, seed: UInt64(size))
    try dir.write(image, to: "state")
    try dir.write(Image.mixed(8192, seed: 1), to: "disk.img")
    try dir.run(.pack, "-o", "a.vma", "vmstate=state", "drive-scsi0=disk.img").succeeds()
    let padded = image + Image.zeros((clusterSize - size % clusterSize) % clusterSize)
    try dir.run(.unpack, "-C", "out", "a.vma").succeeds()
    try dir.expectNames(["disk-drive-scsi0.raw", "vmstate.bin"], in: "out")
    try dir.expect("out/vmstate.bin", holds: padded)
    expectSame(try dir.run(.cat, "a.vma", "vmstate").succeeds().output, padded, "vma-cat")
    try dir.sh("vma-to-tar a.vma | tar -xO vmstate.bin > from-tar").succeeds()
    try dir.expect("from-tar", holds: padded)
    expectSame(
      try dir.run(.cat, "a.vma").succeeds().output, try dir.read("disk.img"), "the only drive")
  }

  @Test(requires("mke2fs", "zstd", "e2fsck"))
  func `a real file system, through pipes and programs`() throws {
    try dir.sh(
      """
      mkdir files; cp -r /etc/init.d /etc/services /bin/ls files/ 2> /dev/null
      truncate -s 24M ext4.img && mke2fs -q -t ext4 -d files ext4.img || exit
      vma-pack drive-scsi0=ext4.img | zstd -qc > a.vma.zst &&
        zstd -qdc a.vma.zst | vma-unpack && cmp ext4.img disk-drive-scsi0.raw &&
        vma-cat a.vma.zst scsi0 | cmp - ext4.img && rm disk-drive-scsi0.raw &&
        zstd -qdc a.vma.zst | vma-to-tar | tar -x && cmp ext4.img disk-drive-scsi0.raw &&
        e2fsck -fn disk-drive-scsi0.raw > /dev/null 2>&1
      """
    ).succeeds()
    #expect(try dir.allocated("disk-drive-scsi0.raw") < 20 << 20)
  }

  @Test func `unnamed sources are numbered by their position`() throws {
    try dir.write(Image.full(512, seed: 1), to: "a.img")
    try dir.write(Image.full(512, seed: 2), to: "b=c.img")
    try dir.write(Image.full(512, seed: 3), to: "c.img")
    try dir.run(.pack, "-o", "a.vma", "x=a.img", "./b=c.img", "c.img").succeeds()
    let parsed = ParsedArchive(try dir.read("a.vma"))
    #expect(parsed.devices.map(\.name) == ["x", "disk1", "disk2"])
    expectSame(try parsed.image("disk1"), try dir.read("b=c.img"), "a path with an equals sign")
  }

  @Test func `names are stored exactly, and a config's defaults to its file name`() throws {
    try dir.makeDirectory("etc")
    try dir.write("one\n", to: "etc/one.conf")
    try dir.write("two\n", to: "etc/x=y z.conf")
    try dir.run(
      .pack, "-o", "a.vma", "-c", "etc/one.conf", "-c", "Two-2.conf=etc/one.conf",
      "--config", "./etc/x=y z.conf"
    ).succeeds()
    let parsed = ParsedArchive(try dir.read("a.vma"))
    #expect(parsed.configs.map(\.name) == ["one.conf", "Two-2.conf", "x=y z.conf"])
  }

  @Test func `a padded disk ends in zeros`() throws {
    let image = Image.full(66_000, seed: 66)
    try dir.write(image, to: "disk.img")
    try dir.run(.pack, "-o", "a.vma", "disk.img").fails(65, .pack, saying: "512")
    #expect(!dir.exists("a.vma"))
    try dir.run(.pack, "--pad", "-o", "a.vma", "disk.img").succeeds()
    #expect(ParsedArchive(try dir.read("a.vma")).faults == [])
    let padded = image + Image.zeros(66_048 - 66_000)
    expectSame(try dir.run(.cat, "a.vma").succeeds().output, padded)
  }

  @Test(requires("zstd"), arguments: [["-z"], ["-z", "--level", "1"], ["-z", "-T", "2"]])
  func `compressed on the way`(options: [String]) throws {
    let image = Image.mixed(1 << 20, seed: 9)
    try dir.write(image, to: "disk.img")
    let fixed = ["--uuid", "00112233-4455-6677-8899-aabbccddeeff", "--ctime", "1"]
    try dir.run(.pack, fixed + options + ["-o", "a.vma.zst", "disk.img"]).succeeds()
    try dir.run(.pack, fixed + ["-o", "a.vma", "disk.img"]).succeeds()
    let plain = try dir.sh("zstd -qdc a.vma.zst").succeeds().output
    expectSame(plain, try dir.read("a.vma"), "decompressed by zstd")
    let list = try dir.sh("zstd -lv a.vma.zst").text
    #expect(list.contains("XXH64"), "the frame should carry a checksum")
    expectSame(try dir.run(.cat, "a.vma.zst").succeeds().output, image)
    try dir.run(.unpack, "-t", "a.vma.zst").succeeds()
  }
}
