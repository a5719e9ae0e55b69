// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

@Suite("Each QEMU that live tests can use", .serialized)
struct VersionTests {
  @Test(requires("qemu-storage-daemon", "qemu-system-x86_64"))
  func `D: a backup of the current one's disks is exact`() throws { try expectExact(.current) }

  @Test(requires(.qemu(.trixie)))
  func `D: a backup of the disks of Debian trixie's is exact`() throws { try expectExact(.trixie) }

  @Test(requires(.qemu(.sid)))
  func `D: a backup of the disks of Debian sid's is exact`() throws { try expectExact(.sid) }

  private func expectExact(_ qemu: QEMU) throws {
    let version = try #require(qemu.version)
    for kind in [Machine.Kind.daemon, .still] {
      let machine = try Machine(kind, qemu: qemu)
      try machine.keepBases()
      let found = try machine.sh("\(Programs.python) $P/qmp.py vm.qmp query-version").output
      let parts = version.split(separator: ".")
      #expect(found.contains("\"minor\": \(parts[1]), \"major\": \(parts[0])"), "\(found)")
      let run = try machine.sh("vma-tap --qmp vm.qmp > events")
      #expect(run.status == 0 && run.errors == "", "\(run.errors)")
      let names = if case .daemon = kind { ("a", "b") } else { ("drive-scsi0", "drive-virtio1") }
      #expect(try machine.check("events", seed: "-", a: names.0, b: names.1).ended)
      try machine.expectNothingLeft()
    }
  }
}
