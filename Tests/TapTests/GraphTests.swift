// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Regressions: changes of QEMU's block graph by older versions of `--fleece`.
@Suite(
  "QEMU's block graph is not changed", .serialized,
  requires("qemu-storage-daemon", .pythonNBD))
struct GraphTests {
  /// Starts a backup through a monitor that logs each command.
  ///
  /// - Parameter reader: the command that reads its stream.
  private static func watched(_ options: String = "", reader: String) -> String {
    """
    \(Programs.python) $P/watch.py watched.qmp vm.qmp log & watch=$!
    while [ ! -e watched.qmp ]; do sleep 0.05; done
    mkfifo pipe; (\(reader)) < pipe > events & reader=$!
    vma-tap --qmp watched.qmp \(options) > pipe 2> stderr & tap=$!
    """
  }
  private static let standing = "head -c 2000000; sleep 2; cat"

  /// Each ends a backup in a different way; none but the last may change the graph.
  @Test(
    "A1–A3: no command changes the graph, except for nodes of our own",
    arguments: [
      watched(reader: "cat") + "\nwait $tap",
      watched("--fleece .", reader: standing) + "\nwait $tap",
      watched(reader: standing) + "\nsleep 1; kill -TERM $tap; wait $tap",
      watched(reader: "head -c 2000000") + "\nwait $tap",
      // The next run cleans up the leftovers of a killed one.
      watched(reader: standing)
        + "\nsleep 1; kill -KILL $tap; wait $tap; vma-tap --qmp watched.qmp > again",
    ])
  func commands(script: String) throws {
    let machine = try Machine(megabytes: 96)
    let graph = try machine.graph()
    let guest = try machine.withGuest(seed: 1, pause: 0.01) {
      _ = try machine.sh("\(script); wait $reader; kill $watch")
    }
    if !script.contains("KILL") { #expect(guest.errors == []) }
    let judged = try machine.sh("\(Programs.python) $P/watch.py log")
    #expect(judged.status == 0 && judged.output == "", "\(judged)")
    #expect(try machine.graph() == graph)
    #expect(try machine.leftovers() == "[]")
  }

  /// The filter of the other job replaced a copy-before-write node, which then had the wrong point
  /// in time.
  @Test(
    "A1: two backups of one disk, one with --fleece, are each of one point in time",
    arguments: 0..<4)
  func twoBackups(seed: Int) throws {
    let machine = try Machine(megabytes: 64)
    let guest = try machine.withGuest(seed: seed, pause: 0.002) {
      let run = try machine.sh(
        """
        mkfifo pipe; (head -c 1000000; sleep 2; cat) < pipe > one & reader=$!
        vma-tap --qmp vm.qmp --fleece . > pipe & first=$!
        sleep 0.5
        vma-tap --qmp second.qmp -d a -d b > two; second=$?
        wait $first; echo $? $second; wait $reader
        """)
      #expect(run.output.trimmed == "0 0", "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(try machine.check("one", seed: "\(seed)").ended)
    #expect(try machine.check("two", seed: "\(seed)").ended)
    try machine.expectNothingLeft()
  }

  /// The tap waited forever, and its node remained in the path of the guest's writes.
  @Test("A3: an external snapshot during a backup", arguments: ["", "--fleece ."])
  func externalSnapshot(option: String) throws {
    let machine = try Machine(megabytes: 64)
    let guest = try machine.withGuest(seed: 3, pause: 0.01) {
      let run = try machine.sh(
        """
        qemu-img create -q -f qcow2 over.qcow2 64M
        mkfifo pipe; (head -c 1000000; sleep 2; cat) < pipe > events & reader=$!
        vma-tap --qmp vm.qmp \(option) > pipe & tap=$!
        sleep 0.7
        \(Programs.python) $P/qmp.py second.qmp blockdev-snapshot-sync '{"node-name":"a",
          "snapshot-node-name":"over","snapshot-file":"over.qcow2","mode":"existing"}'
        wait $tap; echo $?; wait $reader
        """)
      #expect(run.output == "{}\n0\n", "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(try machine.check("events", seed: "3").ended)
    try machine.expectNothingLeft()
  }

  @Test func `--fleece warns`() throws {
    let machine = try Machine()
    let run = try machine.sh("vma-tap --qmp vm.qmp --fleece . > events")
    #expect(run.status == 0 && run.errors.contains("--fleece is deprecated"), "\(run)")
    #expect(run.errors.split(separator: "\n").count == 1, "\(run)")
  }
}
