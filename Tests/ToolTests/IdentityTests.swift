// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Inputs are never written to")
struct IdentityTests {
  let dir: Scratch
  static let compressions = ["none": "cat", "zst": "zstd -qc", "gz": "gzip -c", "xz": "xz -c"]

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.scsi, to: "d.img")
    try dir.write("a config", to: "d.conf")
    try dir.sh("vma-pack -o v.vma -c d.conf d=d.img").succeeds()
  }

  /// Commands that would each damage the archive `v`.
  static let harms: [(Tool, String)] = [
    (.unpack, "vma-unpack --no-configs -m d=v v"), (.unpack, "vma-unpack --no-configs -m d=v < v"),
    (.unpack, "vma-unpack --no-configs -f -m d=./v v"),
    (.unpack, "ln v disk-d.raw; vma-unpack -f v"),
    (.unpack, "ln v o/d.conf; vma-unpack -f -C o - < v"),
    (.unpack, "ln -s ../v o/disk-d.raw; vma-unpack -f -C o v"),
    (.unpack, "mkdir l; ln v l/disk-d.map; vma-unpack -f --salvage --lost l -C new v"),
    (.unpack, "vma-unpack -m d=/dev/stdin - < v"),
    (.unpack, "vma-unpack -m d=/proc/self/fd/7 v 7<> v"), (.unpack, "vma-unpack -l v >> v"),
    (.unpack, "vma-unpack -t v 1<> v"), (.cat, "vma-cat v d >> v"), (.cat, "vma-cat v d 1<> v"),
    (.cat, "vma-cat - d < v >> v"), (.cat, "vma-cat v d.conf >> v"), (.toTar, "vma-to-tar v >> v"),
    (.toTar, "vma-to-tar -fo v v"), (.toTar, "vma-to-tar -fo v < v"),
    (.toTar, "ln -s v link; vma-to-tar -fo link v"), (.toTar, "vma-to-tar - < v 1<> v"),
    (.pack, "vma-pack -fo d.conf -c d.conf d=d.img"),
    (.pack, "vma-pack -c d.conf d=d.img 1<> d.conf"),
    (.pack, "vma-pack -zfo v --pad d=v"), (.pack, "vma-pack --pad -fo ./v - < v"),
    (.pack, "vma-pack --pad d=v >> v"), (.pack, "vma-pack --events < v 1<> v"),
    (.pack, "vma-pack --pad d=d.img -fo e --events --ack-fd 7 < v 7<> v"),
    (.tap, "vma-tap --qmp none -c v 1<> v"),
  ]

  @Test(
    "B1: an archive is not overwritten by its own content", arguments: compressions.keys.sorted())
  func archive(compression: String) throws {
    try dir.sh("\(try #require(Self.compressions[compression])) v.vma > v; cp v sound").succeeds()
    for (tool, command) in Self.harms {
      let outcome = try dir.sh("mkdir -p o; \(command)")
      if outcome.ending != .exit(64) || !outcome.errors.hasPrefix("\(tool.rawValue): ") {
        Issue.record("\(command): \(outcome.ending.testDescription) \(outcome.errors)")
      }
      if outcome.ending == .exit(64), !command.contains("--events --ack") {
        #expect(
          outcome.errors.contains("both an output and an input"), "\(command): \(outcome.errors)")
      }
      try dir.sh("cmp v sound && grep -q '^a config' d.conf && cmp d.img <(vma-cat v.vma d)")
        .succeeds(command)
      try dir.sh("rm -rf o l new link disk-d.raw e").succeeds()
    }
  }

  @Test("B1: a message is not written into the archive")
  func messages() throws {
    let sound = try dir.read("v.vma")
    for command in ["vma-unpack -C o v.vma 2>> v.vma", "vma-cat - nothing < v.vma 2>> v.vma"] {
      let outcome = try dir.sh(command)
      #expect(outcome.ending == .exit(64))
      try dir.expect("v.vma", holds: sound)
    }
  }

  @Test("B1: no two outputs are the same")
  func outputs() throws {
    let second = Archive([Archive.Disk("a", Sample.scsi), Archive.Disk("b", Sample.scsi)])
    try dir.write(second.bytes(), to: "two.vma")
    try dir.write(Sample.scsi, to: "t")
    try dir.sh("mkdir o; ln t o/disk-b.raw").succeeds()
    for command in [
      "vma-unpack -m a=t -m b=./t two.vma", "vma-unpack -f -C o -m a=t two.vma",
      "vma-unpack --salvage -f --lost . -C o -m a=disk-a.map two.vma; exit $?",
    ] {
      if command.contains("a.map") { try dir.write(Sample.scsi, to: "disk-a.map") }
      try dir.sh(command).fails(64, .unpack)
    }
    try dir.expect("t", holds: Sample.scsi)
    // Standard output is one output, whatever its name.
    try dir.sh("vma-to-tar -o /dev/stdout v.vma > s.tar && vma-to-tar v.vma | cmp - s.tar")
      .succeeds()
    try dir.sh("vma-unpack -v -C p two.vma > log 2>&1").succeeds()
  }

  @Test("B1: a device, its partitions and its backing file", requires(.loopDevices))
  func devices() throws {
    let sound = try dir.read("v.vma")
    let (first, second) = (try LoopDevice("v.vma", in: dir), try LoopDevice("v.vma", in: dir))
    let names = ["v.vma", first.path, second.path]
    for input in names {
      for output in names {
        try dir.sh("vma-unpack --no-configs -f -m d=\(output) \(input)").fails(64, .unpack)
        try dir.sh("vma-unpack --no-configs -f -m d=\(output) < \(input)").fails(64, .unpack)
        try dir.sh("vma-cat \(input) d >> \(output)").fails(64, .cat)
        try dir.sh("vma-pack --pad -fo \(output) d=\(input)").fails(64, .pack)
      }
    }
    try dir.expect("v.vma", holds: sound)
    // Separate parts of one file are two devices.
    try dir.resize("disk", to: 16 << 20)
    let low = try LoopDevice("--sizelimit 4M disk", in: dir)
    let high = try LoopDevice("--offset 8M disk", in: dir)
    let across = try LoopDevice("--offset 2M --sizelimit 8M disk", in: dir)
    try dir.sh("dd if=v.vma of=\(low.path) conv=fsync status=none").succeeds()
    try dir.sh(
      "vma-unpack --no-configs -m d=\(high.path) - < <(head -c \(sound.count) \(low.path))"
    )
    .succeeds()
    try dir.sh("vma-pack -fo \(high.path) d=\(low.path)").succeeds()
    try dir.sh("vma-pack -fo \(across.path) d=\(low.path)").fails(64, .pack)
    try dir.sh("vma-pack -fo disk d=\(high.path)").fails(64, .pack)
  }

  @Test("B1: the device of the file system that contains the archive", requires(.loopDevices))
  func fileSystem() throws {
    let mount = try Mount("m", make: "mkfs.ext4 -q", mount: "mount", size: 32 << 20, in: dir)
    try dir.sh("cp v.vma m/; sync").succeeds()
    let device = try #require(try dir.sh("findmnt -no SOURCE m").lines.first)
    try dir.sh("vma-unpack --no-configs -f -m d=\(device) m/v.vma").fails(64, .unpack)
    try dir.sh("vma-unpack --no-configs -f -m d=m.img m/v.vma; exit $?").fails(73, .unpack)
    try dir.sh("vma-unpack --no-configs -f -m d=../m.img m/v.vma").fails(64, .unpack)
    try dir.sh("mkdir m/o; vma-unpack -f -C m/o -d d m/v.vma && cmp m/o/disk-d.raw d.img")
      .succeeds()
    withExtendedLifetime(mount) {}
  }

  @Test("B1: a mounted device as standard output or inherited descriptor", requires(.loopDevices))
  func mountedOutput() throws {
    let mount = try Mount("m", make: "mkfs.ext4 -q", mount: "mount", size: 32 << 20, in: dir)
    let device = try #require(try dir.sh("findmnt -no SOURCE m").lines.first)
    for (command, tool) in [
      ("vma-cat v.vma > \(device)", Tool.cat), ("vma-to-tar v.vma > \(device)", .toTar),
      ("vma-to-tar -o /dev/fd/3 v.vma 3> \(device)", .toTar),
      ("vma-pack d=d.img > \(device)", .pack),
      ("vma-pack -o /dev/stdout d=d.img > \(device)", .pack),
      ("vma-cat v.vma d.conf > \(device)", .cat), ("vma-unpack -l v.vma > \(device)", .unpack),
      ("vma-tap --qmp none > \(device)", .tap),
    ] {
      try dir.sh(command).fails(73, tool, command)
    }
    try dir.sh("cp v.vma m/ && sync && vma-unpack -t m/v.vma").succeeds()
    try dir.sh("vma-pack -fo /dev/stdout d=d.img > \(device)").succeeds()
    try dir.sh(
      "umount m && vma-cat v.vma > \(device) && cmp -n $(stat -c %s d.img) d.img \(device)"
    )
    .succeeds()
    withExtendedLifetime(mount) {}
  }

  @Test("B7: a device that becomes full is reported with its size", requires(.loopDevices))
  func fullDevice() throws {
    try dir.sh("head -c 4M /dev/urandom > random; truncate -s 1M small").succeeds()
    let device = try LoopDevice("small", in: dir)
    try dir.sh("vma-pack -z d=random > \(device.path)")
      .fails(74, .pack, saying: "No space left on device: the device has 1048576 bytes")
  }

  @Test("B1: the same file under a bind mount", requires(.bindMounts))
  func bindMount() throws {
    try dir.makeDirectory("m")
    try dir.sh("mount --bind . m").succeeds()
    defer { _ = try? dir.sh("umount m") }
    try dir.sh("vma-unpack --no-configs -f -m d=m/v.vma v.vma").fails(64, .unpack)
    try dir.sh("vma-to-tar -fo m/v.vma v.vma").fails(64, .toTar)
  }
}
