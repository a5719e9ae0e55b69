// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite(
  "A tap that cannot start reports why and leaves nothing", .serialized,
  requires("qemu-storage-daemon"))
struct StartTests {
  let machine: Machine

  init() throws { machine = try Machine() }

  private func expect(_ arguments: String, status: Int32, _ words: String) throws {
    let run = try machine.sh("vma-tap \(arguments) | cat; exit ${PIPESTATUS[0]}")
    #expect(run.status == status, "\(run.errors)")
    #expect(run.errors.contains(words), "\(run.errors)")
    #expect(run.errors.split(separator: "\n").count == 1)
    #expect(try FileManager.default.contentsOfDirectory(atPath: machine.temporary) == [])
  }

  @Test func `wrong usage`() throws {
    try expect("--qmp vm.qmp --list -d a", status: 64, "--list")
    try expect("--qmp vm.qmp -d a=x -d b=x", status: 64, "duplicate disk name: x")
    try expect("--qmp vm.qmp -d a -d a=x", status: 64, "twice")
    try expect("--qmp vm.qmp -c a.raw", status: 65, "config")
    try expect("", status: 64, "--qmp")
  }

  @Test func `a missing QEMU, disk or file`() throws {
    try expect("--qmp none.qmp", status: 66, "none.qmp: No such file")
    try expect("--qmp a.raw", status: 66, "a.raw: Connection refused")
    try expect("--qmp vm.qmp -d c", status: 66, "no such disk: c (available: a, b)")
    try expect("--qmp vm.qmp -c none", status: 66, "none: No such file")
    try expect("--qmp guest.nbd", status: 66, "is not a QMP monitor")
    try machine.expectNothingLeft()
  }

  @Test func `a monitor that serves another client`() throws {
    let run = try machine.sh(
      """
      \(Programs.python) -c 'import socket, time
      s = socket.socket(socket.AF_UNIX); s.connect("vm.qmp"); time.sleep(8)' & other=$!
      sleep 0.3; vma-tap --qmp vm.qmp --list; code=$?; kill $other; exit $code
      """)
    #expect(run.status == 66)
    #expect(run.errors.contains("serves another client"), "\(run.errors)")
  }

  @Test func `a backup that QEMU refuses`() throws {
    // A raw node considers the target of a running job busy.
    try machine.succeed(
      """
      truncate -s 24M t.raw
      q() { \(Programs.python) $P/qmp.py vm.qmp "$@"; }
      q blockdev-add '{"driver":"raw","node-name":"t","file":{"driver":"file","filename":"t.raw"}}'
      q blockdev-backup '{"job-id":"other","device":"a","target":"t","sync":"full","speed":1}'
      """)
    try expect("--qmp vm.qmp -d b -d t", status: 1, "QEMU refused to start the backup")
    #expect(try machine.leftovers() == "[\"other\"]")
  }

  @Test func `the disks are listed`() throws {
    let run = try machine.sh("vma-tap --qmp vm.qmp --list")
    #expect(run.output == "a\t25165824\trw\ta\nb\t9456128\trw\tb\n")
    #expect(run.status == 0 && run.errors == "")
  }
}
