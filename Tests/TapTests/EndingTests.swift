// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import Testing

@Suite(
  "Every terminating signal ends a backup without an effect on the guest", .serialized,
  requires("qemu-storage-daemon", .pythonNBD))
struct EndingTests {
  /// Signals that end a process by default: not SIGKILL, nor those that stop it or have no effect,
  /// nor the C library's own, nor the three that vma-tap uses otherwise (SIGUSR1, SIGPIPE,
  /// SIGXFSZ). Only the first and the last of the real-time signals.
  private static let signals: [Int32] =
    (1...31).filter {
      ![
        SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGCHLD, SIGURG, SIGWINCH, SIGXFSZ,
        SIGUSR1, SIGPIPE,
      ].contains($0)
    } + [34, 64]

  /// One after another on one machine, each in a backup whose reader stops after 2 MB.
  @Test func `A6, D: every signal that can be caught ends the run and cleans up`() throws {
    let machine = try Machine(megabytes: 96)
    let guest = try machine.withGuest(seed: 1, pause: 0.002) {
      // A shell makes its background jobs ignore SIGINT and SIGQUIT.
      let run = try machine.sh(
        """
        ulimit -c 0
        for signal in \(Self.signals.map(String.init).joined(separator: " ")); do
          mkfifo pipe; (head -c 2000000; sleep 0.5; cat) < pipe > events-$signal & reader=$!
          env --default-signal vma-tap --qmp vm.qmp > pipe 2> stderr-$signal & tap=$!
          \(Machine.until(2_000_000, of: "events-$signal"))
          kill -$signal $tap; wait $tap; status=$?; wait $reader; rm pipe
          echo $signal $status $(\(Programs.python) $P/qmp.py second.qmp left)
        done
        """, atMost: 240)
      let expected = Self.signals.map { "\($0) \(128 + $0) []" }
      #expect(run.output.split(separator: "\n").map(String.init) == expected, "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(guest.worst < 2, "\(guest)")
    for signal in Self.signals { #expect(try !machine.hasEnd("events-\(signal)")) }
    try machine.expectNothingLeft()
  }

  @Test func `A6, D: an output that exceeds its size limit is 74, and does not kill the process`()
    throws
  {
    let machine = try Machine(megabytes: 96)
    let guest = try machine.withGuest(seed: 2, pause: 0.002) {
      let run = try machine.sh("ulimit -f 4096; vma-tap --qmp vm.qmp > events 2> stderr; echo $?")
      #expect(run.output == "74\n", "\(run.errors)")
    }
    #expect(guest.errors == [])
    let message = try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
    #expect(message == "vma-tap: standard output: File too large\n")
    #expect(try !machine.hasEnd("events"))
    try machine.expectNothingLeft()
  }

  @Test func `A6, D: SIGUSR1 prints a status line, and the run continues`() throws {
    let machine = try Machine(megabytes: 96)
    try machine.keepBases()
    let run = try machine.sh(
      """
      mkfifo pipe; (head -c 2000000; sleep 1.5; cat) < pipe > events & reader=$!
      vma-tap --qmp vm.qmp > pipe 2> stderr & tap=$!
      sleep 0.7; kill -USR1 $tap; sleep 0.3; wc -l < stderr; wait $tap; echo $?; wait $reader
      """)
    #expect(run.output == "1\n0\n", "\(run.errors)")
    #expect(try machine.check("events", seed: "-").ended)
  }
}
