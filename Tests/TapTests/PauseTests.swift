// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite(
  "Background copying waits for the reader", .serialized,
  requires("qemu-storage-daemon", .pythonNBD))
struct PauseTests {
  /// It is not enough to count pauses: QEMU must report that its jobs pause and continue.
  @Test func `D: jobs are paused in QEMU while the stream is not read, and complete when it is`()
    throws
  {
    let machine = try Machine(megabytes: 160)
    try machine.keepBases()
    let run = try machine.sh(
      """
      mkfifo pipe go
      (head -c 2000000; cat go; cat) < pipe > events & reader=$!
      vma-tap --qmp vm.qmp > pipe & tap=$!
      for _ in {1..200}; do
        \(Programs.python) $P/qmp.py second.qmp query-jobs > jobs
        grep -q '"status": "paused"' jobs && ! grep -q '"status": "running"' jobs && break
        sleep 0.05
      done
      cat jobs; : > go; wait $tap; echo $?; wait $reader
      """)
    #expect(run.output.contains("\"status\": \"paused\""), "\(run)")
    #expect(!run.output.contains("\"status\": \"running\""), "\(run)")
    #expect(run.output.hasSuffix("\n0\n"), "\(run)")
    // `go` adds nothing.
    #expect(try machine.check("events", seed: "-").ended)
  }
}
