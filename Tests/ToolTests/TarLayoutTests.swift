// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("--layout pve is the tar layout used before this format")
struct TarLayoutTests {
  let dir: Scratch
  static let text = """
    cores: 4
    #qmdump#map:efidisk0:drive-efidisk0:local-lvm:raw:
    #qmdump#map:scsi0:drive-scsi0::raw:
    efidisk0: local-lvm:vm-100-disk-0,size=528K
    scsi0: local:100/disk.raw,size=1M

    """

  init() throws { dir = try Scratch() }

  private func archive(
    _ text: String, configs: [Archive.Config] = [], state: Bool = false,
    order: ClusterOrder = .interleaved
  ) -> Archive {
    var disks = [
      Archive.Disk("drive-efidisk0", Sample.efi), Archive.Disk("drive-scsi0", Sample.scsi),
    ]
    if state { disks.append(Archive.Disk("vmstate", Sample.state)) }
    return Archive(
      disks, configs: configs + [Archive.Config("qemu-server.conf", text)], order: order)
  }

  @Test(requires("tar"), arguments: ["b.vma", "- < b.vma", "<(cat b.vma)"])
  func `its members and map lines`(source: String) throws {
    try dir.write(archive(Self.text).bytes(), to: "b.vma")
    try dir.sh("mkdir out; vma-to-tar --layout pve \(source) > t.tar && tar -xf t.tar -C out")
      .succeeds()
    #expect(
      try dir.sh("tar -tf t.tar").lines == [
        "qemu-server.conf", "vm-disk-efidisk0.raw", "vm-disk-scsi0.raw",
      ])
    try dir.expect("out/vm-disk-efidisk0.raw", holds: Sample.efi)
    try dir.expect("out/vm-disk-scsi0.raw", holds: Sample.scsi)
    let lines = String(decoding: try dir.read("out/qemu-server.conf"), as: UTF8.self)
      .split(separator: "\n").map(String.init)
    #expect(lines.filter { $0.hasPrefix("#qmdump#") } == [])
    #expect(
      lines.filter { $0.hasPrefix("#vzdump#") } == [
        "#vzdump#map:efidisk0:vm-disk-efidisk0.raw:540672:local-lvm:",
        "#vzdump#map:scsi0:vm-disk-scsi0.raw:1048576::",
      ])
    #expect(
      lines.filter { !$0.hasPrefix("#") } == [
        "cores: 4", "efidisk0: local-lvm:vm-100-disk-0,size=528K",
        "scsi0: local:100/disk.raw,size=1M",
      ])
  }

  @Test(requires("busybox"))
  func `nothing in it is sparse`() throws {
    try dir.write(archive(Self.text).bytes(), to: "b.vma")
    try dir.sh("mkdir out; vma-to-tar --layout pve b.vma | busybox tar -x -C out").succeeds()
    try dir.expect("out/vm-disk-scsi0.raw", holds: Sample.scsi)
    let plain = try dir.sh("vma-to-tar --layout pve b.vma").output
    let spelled = try dir.sh("vma-to-tar --layout pve --format gnutar --no-sparse b.vma")
    expectSame(spelled.succeeds().output, plain)
  }

  @Test(requires("tar"))
  func `other configs and the VM state are omitted with a warning`() throws {
    let bytes = archive(Self.text, configs: [Sample.firewall], state: true).bytes()
    try dir.write(bytes, to: "b.vma")
    let outcome = try dir.sh("vma-to-tar --layout pve b.vma > t.tar")
    #expect(outcome.ending == .exit(0))
    #expect(outcome.errors.contains("qemu-server.fw"))
    #expect(outcome.errors.contains("vmstate"))
    #expect(outcome.errorLines.dropLast().allSatisfy { $0.hasPrefix("vma-to-tar: ") })
    #expect(
      try dir.sh("tar -tf t.tar").lines == [
        "qemu-server.conf", "vm-disk-efidisk0.raw", "vm-disk-scsi0.raw",
      ])
  }

  @Test(arguments: [
    ("no map lines", "efidisk0: x:y\nscsi0: x:y\n"),
    ("one disk without", "#qmdump#map:efidisk0:drive-efidisk0:x:raw:\nscsi0: x:y\n"),
  ])
  func `a disk without a map line is 64`(what: String, text: String) throws {
    let bytes = archive(text).bytes()
    try dir.write(bytes, to: "b.vma")
    try dir.run(.toTar, "--layout", "pve", "b.vma").fails(64, .toTar, what)
    try dir.run(.toTar, "--layout", "pve", input: .pipe(bytes)).fails(64, .toTar, what)
  }

  @Test func `a missing configuration is 64`() throws {
    let bytes = Archive([Archive.Disk("drive-scsi0", Sample.scsi)]).bytes()
    try dir.write(bytes, to: "b.vma")
    try dir.run(.toTar, "--layout", "pve", "b.vma").fails(64, .toTar)
  }
}
