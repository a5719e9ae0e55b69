// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite(
  "A complete machine", .serialized,
  requires("qemu-system-x86_64"))
struct SystemTests {
  @Test func `its disks are found, and shown as before the guest's writes`() throws {
    let machine = try Machine(.still)
    let list = try machine.sh("vma-tap --qmp vm.qmp --list")
    #expect(
      list.output
        == "drive-scsi0\t25165824\trw\tdrive-scsi0\nnodeb\t9456128\trw\tdrive-virtio1\n")
    try machine.keepBases()
    // The tap uses the monitor; a second one simulates the guest's writes.
    let run = try machine.sh(
      """
      write() {
        \(Programs.python) $P/qmp.py second.qmp human-monitor-command \
          "{\\"command-line\\":\\"qemu-io $1 \\\\\\"write -P 0x55 $2 4096\\\\\\"\\"}"
      }
      mkfifo pipe
      (head -c 1000000; sleep 2; cat) < pipe > events & reader=$!
      vma-tap --qmp vm.qmp > pipe & tap=$!
      \(Machine.until(1_000_000))
      for place in 0 1000448 12345344 25161728; do
        write drive-scsi0 $place
        write "-d /machine/peripheral/virtio1/virtio-backend" $((place % 9400320))
      done > written
      wait $tap; code=$?; wait $reader; exit $code
      """)
    #expect(try machine.sh("cmp a.raw base-a").status == 1)
    #expect(try machine.sh("cmp b.raw base-b").status == 1)
    #expect(run.status == 0 && run.errors == "", "\(run.errors)")
    let stream = try machine.check("events", seed: "-", a: "drive-scsi0", b: "drive-virtio1")
    #expect(stream.ended && stream.names == ["drive-scsi0", "drive-virtio1"])
    try machine.expectNothingLeft()
  }

  @Test(arguments: [
    ("scsi0", "drive-scsi0"), ("vd0", "vd0"), ("drive-scsi0", "drive-scsi0"), ("vd0=x", "x"),
  ])
  func `D: a disk has several names`(device: String, name: String) throws {
    let machine = try Machine(.still)
    try machine.keepBases()
    let run = try machine.sh("vma-tap --qmp vm.qmp -d \(device) > events")
    #expect(run.status == 0 && run.errors == "", "\(run.errors)")
    let stream = try machine.check("events", disks: ["\(name)=base-a"])
    #expect(stream.ended && stream.names == [name])
    try machine.expectNothingLeft()
  }
}
