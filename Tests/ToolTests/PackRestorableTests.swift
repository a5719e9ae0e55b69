// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("vma-pack --pve refuses archives that qmrestore cannot restore, and warns of surprises")
struct PackRestorableTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Image.mixed(65_536, seed: 1), to: "a.img")
    try dir.write(Image.mixed(32_768, seed: 2), to: "half.img")
    try dir.write(Image.mixed(32_256, seed: 3), to: "less.img")
    try dir.write("scsi0: x:y,size=1M\nscsi1: x:y,size=1M\n", to: "qemu-server.conf")
  }

  private func pack(_ arguments: String..., config: String = "qemu-server.conf") throws -> Outcome {
    try dir.run(.pack, ["--pve", "-c", "qemu-server.conf=\(config)"] + arguments)
  }

  private func lines(of outcome: Outcome) throws -> [String] {
    let config = try #require(ParsedArchive(outcome.output).configs.first)
    return String(decoding: config.data, as: UTF8.self).split(separator: "\n").map(String.init)
  }

  @Test("B9: disks of less than 64 KiB in total, or a state without a disk, are 65")
  func tooSmall() throws {
    try pack("drive-scsi0=half.img").fails(65, .pack, saying: "64 KiB")
    try pack("drive-scsi0=half.img", "drive-scsi1=less.img").fails(65, .pack, saying: "64 KiB")
    try pack("drive-scsi0=half.img", "drive-scsi1=half.img").succeeds()
    try pack("vmstate=a.img").fails(65, .pack, saying: "vmstate")
    try pack("drive-scsi0=less.img", "vmstate=a.img").fails(65, .pack)
    try pack("drive-scsi0=a.img", "vmstate=a.img").succeeds()
    // A machine without any disk can be restored.
    try pack().succeeds()
  }

  @Test("B9: map lines count wherever they are, as qmrestore reads them")
  func mapLinesInSections() throws {
    let map = "#qmdump#map:scsi0:drive-scsi0:ceph:raw:"
    try dir.write("scsi0: x:y\n[snap]\nscsi0: x:y\n\(map)\n", to: "good.conf")
    let found = try lines(of: pack("-q", "drive-scsi0=a.img", config: "good.conf").succeeds())
    #expect(found == ["scsi0: x:y", map])

    try dir.write("scsi0: x:y\n[snap]\n#qmdump#map:scsi9:drive-scsi9::raw:\n", to: "stale.conf")
    try pack("drive-scsi0=a.img", config: "stale.conf").fails(65, .pack, saying: "scsi9")
    try dir.write("scsi0: x:y\n\(map)\n[snap]\n\(map)\n", to: "twice.conf")
    try pack("drive-scsi0=a.img", config: "twice.conf").fails(65, .pack, saying: "twice")
    try dir.write("scsi0: x:y\n[snap]\n#qmdump#map:scsi0\n", to: "bad.conf")
    try pack("drive-scsi0=a.img", config: "bad.conf").fails(65, .pack, saying: "invalid line")
  }

  @Test("B9: sections, lock, parent and unused disks are omitted, as by vzdump")
  func leftOut() throws {
    let text = """
      #a comment: unused0: stays
      cores: 2
      lock: backup
      parent: snap
      parents: stays
      scsi0: x:y,size=1M
      unused0: x:z
      unused12: x:z
      unusedX: stays
      [PENDING]
      cores: 4
      [snap]
      lock: x
      scsi0: x:y

      """
    try dir.write(text, to: "full.conf")
    let packed = try pack("drive-scsi0=a.img", config: "full.conf")
    let omission = "qemu-server.conf: left out: lock, parent, unused0, unused12, [PENDING], [snap]"
    #expect(packed.ending == .exit(0) && packed.errors == "vma-pack: warning: \(omission)\n")
    let found = try lines(of: packed)
    try pack("-q", "drive-scsi0=a.img", config: "full.conf").succeeds()
    #expect(
      found == [
        "#a comment: unused0: stays", "cores: 2", "parents: stays", "scsi0: x:y,size=1M",
        "unusedX: stays", "#qmdump#map:scsi0:drive-scsi0::raw:",
      ])
    // Without --pve nothing changes.
    let plain = try dir.run(.pack, "-c", "qemu-server.conf=full.conf", "drive-scsi0=a.img")
    #expect(ParsedArchive(plain.output).configs.first?.data == Array(text.utf8))
    // The archive for a qmrestore tar has map lines.
    let map = "#qmdump#map:scsi0:drive-scsi0::raw:\n"
    try dir.write(text + map, to: "mapped.conf")
    let archive = try dir.run(
      .pack, "-o", "a.vma", "-c", "qemu-server.conf=mapped.conf", "drive-scsi0=a.img")
    archive.succeeds()
    let tar = try dir.run(.toTar, "--layout", "pve", "-o", "a.tar", "a.vma")
    #expect(tar.ending == .exit(0) && tar.errors == "vma-to-tar: warning: a.vma: \(omission)\n")
    #expect(
      try dir.sh("tar -xOf a.tar qemu-server.conf").lines
        == found.dropLast() + ["#vzdump#map:scsi0:vm-disk-scsi0.raw:65536::"])
  }

  @Test(
    "B9: a packed disk that the configuration excludes from backups is warned about",
    arguments: ["backup=0", "backup=no", "backup=off,size=1M", "size=1M,backup=False"])
  func excluded(option: String) throws {
    try dir.write("scsi0: x:y,\(option)\n", to: "excluded.conf")
    let outcome = try pack("drive-scsi0=a.img", config: "excluded.conf")
    #expect(outcome.ending == .exit(0))
    #expect(outcome.errors.hasPrefix("vma-pack: warning: qemu-server.conf: scsi0 has backup=0"))
    try pack("-q", "drive-scsi0=a.img", config: "excluded.conf").succeeds()
    try dir.write("scsi0: x:y,backup=1,backup=,xbackup=0\nscsi1: x:y,backup=0\n", to: "b.conf")
    try pack("drive-scsi0=a.img", config: "b.conf").succeeds()
  }

  @Test("B9: a file name that qmrestore does not recognize is warned about")
  func fileNames() throws {
    let good = ["vzdump-qemu-100-2026_01_01-00_00_00.vma", "vzdump-qemu-x.vma"]
    for name in good {
      try pack("-o", dir(name), "drive-scsi0=a.img").succeeds()
      try pack("-zo", name + ".zst", "drive-scsi0=a.img").succeeds()
    }
    let bad = ["vm.vma", "vzdump-qemu-.vma", "vzdump-qemu-1.vma.zst", "vzdump-lxc-1.vma", "a"]
    for name in bad {
      let outcome = try pack("-fo", name, "drive-scsi0=a.img")
      #expect(outcome.ending == .exit(0))
      #expect(
        outcome.errors.hasPrefix("vma-pack: warning: \(name): qmrestore needs a file name like"))
    }
    let outcome = try pack("-zfo", "vzdump-qemu-1.vma", "drive-scsi0=a.img")
    #expect(outcome.errors.contains("vzdump-qemu-NAME.vma.zst"))
    // Only --pve concerns qmrestore.
    try dir.run(.pack, "-fo", "a", "drive-scsi0=a.img").succeeds()
  }

  @Test(
    "B9: an image that contains a disk is warned about, whatever its format",
    arguments: [
      ("qcow2", [0x51, 0x46, 0x49, 0xfb]), ("qed", Array("QED\0".utf8)),
      ("vmdk", Array("KDMV".utf8)), ("vmdk", Array("COWD".utf8)),
      ("vmdk", Array("# Disk DescriptorFile\n".utf8)),
      ("vdi", Array("<<< Oracle VM VirtualBox Disk Image >>>\n".utf8)),
      ("vhdx", Array("vhdxfile".utf8)), ("vpc", Array("conectix".utf8)),
      ("parallels", Array("WithoutFreeSpace".utf8)),
    ] as [(String, [UInt8])])
  func images(format: String, signature: [UInt8]) throws {
    try dir.put(signature, into: "a.img", at: 0)
    let outcome = try dir.run(.pack, "drive-scsi0=a.img")
    #expect(outcome.ending == .exit(0))
    #expect(
      outcome.errors.hasPrefix("vma-pack: warning: a.img: looks like \(format); packing the file"))
    // With an odd size: the same message, and no advice to pad it.
    try dir.write(signature + [1], to: "odd.img")
    try dir.run(.pack, "drive-scsi0=odd.img").fails(
      65, .pack, saying: "looks like \(format): export")
  }

  @Test("B9: the footer of a fixed VHD is recognized, and a real disk is not taken for an image")
  func footers() throws {
    try dir.put(Array("conectix".utf8), into: "a.img", at: 65_536 - 512)
    #expect(try dir.run(.pack, "drive-scsi0=a.img").errors.contains("looks like vpc"))
    try dir.write([UInt8](repeating: 0, count: 512), to: "sector.img")
    try dir.run(.pack, "drive-scsi0=sector.img").succeeds()
    try dir.put(Array("LUKS".utf8) + [0xba, 0xbe], into: "half.img", at: 0)
    try dir.run(.pack, "drive-scsi0=half.img").succeeds()
  }

  @Test("B9: real images of QEMU's formats are recognized", requires("qemu-img"))
  func realImages() throws {
    for (format, name) in [
      ("qcow2", "qcow2"), ("qed", "qed"), ("vmdk", "vmdk"), ("vdi", "vdi"), ("vhdx", "vhdx"),
      ("vpc", "vpc"), ("vpc -o subformat=fixed", "vpc"), ("parallels", "parallels"),
    ] {
      try dir.sh("qemu-img create -q -f \(format) image 8M").succeeds()
      let outcome = try dir.run(.pack, "--pad", "drive-scsi0=image")
      #expect(outcome.errors.contains("looks like \(name);"), "\(format): \(outcome.errors)")
    }
    try dir.sh("qemu-img create -q -f raw image 8M").succeeds()
    try dir.run(.pack, "drive-scsi0=image").succeeds()
  }
}
