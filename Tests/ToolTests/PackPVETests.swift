// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("vma-pack --pve writes archives that qmrestore accepts")
struct PackPVETests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Image.mixed(131_072, seed: 1), to: "a.img")
    try dir.write(Image.mixed(540_672, seed: 2), to: "b.img")
  }

  private func configuration(of outcome: Outcome) throws -> [String] {
    // Omitted lines are reported.
    #expect(outcome.ending == .exit(0), "\(outcome.errors)")
    let parsed = ParsedArchive(outcome.output)
    #expect(parsed.faults == [])
    let config = try #require(parsed.configs.first { $0.name == "qemu-server.conf" })
    return String(decoding: config.data, as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  @Test func `missing map lines are added`() throws {
    let text = """
      cores: 4
      efidisk0: local-lvm:vm-100-disk-0,size=528K
      scsi0: local-lvm:vm-100-disk-1,size=128K

      [snap]
      cores: 2
      scsi0: local-lvm:vm-100-disk-1,size=128K

      """
    try dir.write(text, to: "qemu-server.conf")
    let lines = try configuration(
      of: dir.run(
        .pack, "--pve", "-c", "qemu-server.conf", "drive-efidisk0=b.img", "drive-scsi0=a.img"))
    let maps = lines.filter { $0.hasPrefix("#qmdump#map:") }
    #expect(maps.count == 2)
    for disk in ["efidisk0", "scsi0"] {
      let fields = try #require(maps.first { $0.hasPrefix("#qmdump#map:\(disk):") })
        .split(separator: ":", omittingEmptySubsequences: false)
      #expect(fields.count == 6)
      #expect(fields[2] == "drive-\(disk)")
      #expect(fields[5].isEmpty)
    }
    // Apart from these lines, only the section is missing.
    let rest = lines.filter { !$0.hasPrefix("#qmdump#map:") }.filter { !$0.isEmpty }
    #expect(rest == text.split(separator: "\n").prefix(3).map(String.init))
  }

  @Test func `existing lines are not changed`() throws {
    let text = """
      #qmdump#map:scsi0:drive-scsi0:ceph:raw:
      scsi0: ceph:vm-100-disk-0,size=128K
      virtio1: local:100/vm-100-disk-1.qcow2,size=528K

      """
    try dir.write(text, to: "vm.conf")
    let lines = try configuration(
      of: dir.run(
        .pack, "--pve", "-c", "qemu-server.conf=vm.conf", "drive-scsi0=a.img",
        "drive-virtio1=b.img"))
    #expect(lines.filter { $0 == "#qmdump#map:scsi0:drive-scsi0:ceph:raw:" }.count == 1)
    #expect(lines.filter { $0.hasPrefix("#qmdump#map:") }.count == 2)
    #expect(lines.contains { $0.hasPrefix("#qmdump#map:virtio1:drive-virtio1:") })
  }

  @Test func `a complete configuration is not changed at all`() throws {
    let text = "#qmdump#map:sata0:drive-sata0::raw:\nsata0: x:y,size=128K\n"
    try dir.write(text, to: "qemu-server.conf")
    let outcome = try dir.run(.pack, "--pve", "-c", "qemu-server.conf", "drive-sata0=a.img")
    #expect(try configuration(of: outcome).joined(separator: "\n") == text)
  }

  @Test func `a configuration without a final newline, or without one for the map`() throws {
    try dir.write("scsi0: x:y,size=128K", to: "qemu-server.conf")
    let lines = try configuration(
      of: dir.run(.pack, "--pve", "-c", "qemu-server.conf", "drive-scsi0=a.img"))
    #expect(lines.contains("scsi0: x:y,size=128K"))
    #expect(lines.contains { $0.hasPrefix("#qmdump#map:scsi0:drive-scsi0:") })
  }

  @Test func `a VM state needs no line, a TPM state has its own name`() throws {
    try dir.write("tpmstate0: x:y,size=4M,version=v2.0\n", to: "qemu-server.conf")
    let lines = try configuration(
      of: dir.run(
        .pack, "--pve", "-c", "qemu-server.conf", "drive-tpmstate0-backup=a.img",
        "vmstate=b.img"))
    #expect(lines.contains { $0.hasPrefix("#qmdump#map:tpmstate0:drive-tpmstate0-backup:") })
    #expect(!lines.contains { $0.contains("vmstate") })
  }

  @Test func `without a configuration it is 64`() throws {
    try dir.run(.pack, "--pve", "drive-scsi0=a.img").fails(
      64, .pack, saying: "qemu-server.conf")
    try dir.write("scsi0: x:y\n", to: "other.conf")
    try dir.run(.pack, "--pve", "-c", "other.conf", "drive-scsi0=a.img").fails(64, .pack)
  }

  @Test(arguments: [
    ("a disk without a line of its own", "cores: 2\n", ["drive-scsi0=a.img"]),
    ("a disk whose line is only in a snapshot", "[s]\nscsi0: x:y\n", ["drive-scsi0=a.img"]),
    ("a name that is no drive", "scsi0: x:y,size=1M\n", ["root=a.img"]),
    ("an unnamed source", "scsi0: x:y,size=1M\n", ["a.img"]),
    ("a bus that is none", "floppy0: x:y,size=1M\n", ["drive-floppy0=a.img"]),
    (
      "a map line without its device",
      "#qmdump#map:scsi1:drive-scsi1::raw:\nscsi0: x:y\nscsi1: x:y\n", ["drive-scsi0=a.img"]
    ),
    (
      "a mapped disk without its line", "#qmdump#map:scsi0:drive-scsi0::raw:\n",
      ["drive-scsi0=a.img"]
    ),
    (
      "two devices for one disk",
      "#qmdump#map:scsi0:drive-scsi0::raw:\n#qmdump#map:scsi0:drive-scsi1::raw:\nscsi0: x:y\n",
      ["drive-scsi0=a.img", "drive-scsi1=b.img"]
    ),
    (
      "two disks for one device",
      "#qmdump#map:scsi0:drive-scsi0::raw:\n#qmdump#map:scsi1:drive-scsi0::raw:\n"
        + "scsi0: x:y\nscsi1: x:y\n",
      ["drive-scsi0=a.img"]
    ),
  ])
  func `an archive that could not be restored is 65`(what: String, text: String, sources: [String])
    throws
  {
    try dir.write(text, to: "qemu-server.conf")
    try dir.run(.pack, ["--pve", "-c", "qemu-server.conf"] + sources).fails(65, .pack, what)
  }
}
