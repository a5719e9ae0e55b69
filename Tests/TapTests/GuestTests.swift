// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite(
  "A Linux guest that writes all the time", .serialized,
  requires("qemu-system-x86_64", "qemu-img", .linuxGuest))
struct GuestTests {
  /// Starts a backup that takes some seconds, and kills the tap during it.
  private static let killed = """
    mkfifo pipe
    \(Programs.python) $P/sink.py 10 < pipe > events & reader=$!
    vma-tap --qmp vm.qmp > pipe & tap=$!
    sleep 2; kill -KILL $(pgrep -P $tap) $tap; wait $tap; echo $?; wait $reader
    """

  @Test func `gets no error, and both disks are of one point in time`() throws {
    let machine = try Machine(.linux(onError: "report"), megabytes: 64)
    try machine.waitForRecords(20)
    let before = machine.recordCount
    let run = try machine.sh(
      """
      set -o pipefail
      vma-tap --qmp vm.qmp | \(Programs.python) $P/sink.py 16 | vma-pack --events -o vm.vma
      """)
    #expect(run.status == 0 && run.errors == "", "\(run.errors)")
    let after = machine.recordCount
    // It has written during the backup, and continues.
    #expect(after > before)
    try machine.waitForRecords(after + 30)
    try machine.expectNothingLeft()

    try machine.succeed("vma-unpack -C restored vm.vma")
    let restored = ["0", "1"].map { "restored/disk-drive-virtio\($0).raw" }
    let numbers = try machine.records(restored[0], restored[1])
    // It reports every tenth.
    #expect((before...after + 10).contains(numbers[0]), "\(numbers)")
  }

  @Test(arguments: ["vma-tap --qmp vm.qmp > events", "job-cancel"])
  func `is stopped without damage if the tap is killed, and continues after cleanup and cont`(
    mend: String
  ) throws {
    // With a newer QEMU, no write fails (on-cbw-error; see GuardTests).
    let machine = try Machine(.linux(onError: "stop"), megabytes: 64, qemu: .installed)
    try machine.waitForRecords(20)
    let run = try machine.sh(Self.killed)
    #expect(run.output.trimmed == "137")
    // The first write to an area that was not copied yet has failed, and QEMU has stopped the guest
    // instead of reporting the error to it.
    let status = try machine.sh(
      """
      q() { \(Programs.python) $P/qmp.py vm.qmp query-status; }
      for _ in {1..100}; do q | grep io-error && break; sleep 0.2; done
      """)
    #expect(status.output.contains("io-error"))
    #expect(try machine.leftovers() != "[]")

    if mend == "job-cancel" {
      // One is enough, because the other is in the same group. Jobs that have already noticed the
      // broken connection have ended, and refuse.
      _ = try machine.sh(
        """
        q() { \(Programs.python) $P/qmp.py vm.qmp "$@"; }
        q job-cancel "{\\"id\\":$(q query-jobs | grep -o '"vmatap[^"]*"' | head -n 1)}"
        """)
    } else {
      let next = try machine.sh(mend)
      #expect(next.status == 0 && next.errors.contains("a killed vma-tap left"), "\(next.errors)")
      try machine.expectNothingLeft()
    }
    let stopped = machine.recordCount
    // QEMU repeats the write; the guest does not see the failure.
    try machine.succeed("\(Programs.python) $P/qmp.py vm.qmp cont")
    try machine.waitForRecords(stopped + 30)

    // In any case, no record on the disks themselves is lost or incomplete.
    try machine.succeed(
      """
      \(Programs.python) $P/qmp.py vm.qmp quit
      while kill -0 \(machine.processID) 2> gone; do sleep 0.1; done
      qemu-img convert -O raw b.qcow2 b.now
      """)
    #expect(try machine.records("a.raw", "b.now")[0] >= stopped + 30)
  }
}
