// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import Testing

@Suite(
  "With scratch files no write of the guest waits", .serialized,
  .enabled(
    if: Programs.hasGuest, "needs qemu-storage-daemon (qemu-system-common) and python3-libnbd"))
struct FleeceTests {
  let machine: Machine

  init() throws {
    machine = try Machine(megabytes: 96)
    try machine.sh("mkdir scratch")
  }

  private static let tap = "vma-tap --fleece scratch --qmp"

  /// Starts a backup that stands still after 2 MB, until its reader goes on.
  private static func standing(seconds: Double, at monitor: String = "vm.qmp") -> String {
    """
    mkfifo pipe
    (head -c 2000000; sleep \(seconds); cat) < pipe > events & reader=$!
    \(tap) \(monitor) > pipe 2> stderr & tap=$!
    sleep 0.7
    """
  }

  /// Runs a script beside a guest that writes as fast as it can, and finds all as it was.
  ///
  /// - Parameter output: what the script prints: the exit status of the tap.
  private func expect(
    _ script: String, _ output: String, on other: Machine? = nil, seed: Int = 1, pause: Double = 0,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let machine = other ?? machine
    let graph = try machine.graph()
    try #require(graph.contains("a-file"))
    let guest = try machine.withGuest(seed: seed, pause: pause) {
      let run = try machine.sh(script)
      #expect(run.output.trimmed == output, "\(run.errors)", sourceLocation: sourceLocation)
    }
    #expect(guest.errors == [], sourceLocation: sourceLocation)
    // All readers here stand still for 3 seconds or more. Without scratch files the longest write
    // takes as long as that; with them it was between 0.03 and 0.3 seconds.
    #expect(guest.worst < 2, "\(guest)", sourceLocation: sourceLocation)
    #expect(try machine.graph() == graph, sourceLocation: sourceLocation)
    try machine.expectNothingLeft(sourceLocation: sourceLocation)
    #expect(try machine.sh("ls -A scratch").output == "", sourceLocation: sourceLocation)
  }

  private func message() throws -> String {
    try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
  }

  @Test(arguments: 0..<8)
  func `a backup shows both disks at one instant`(seed: Int) throws {
    let machine = try Machine(format: seed % 2 == 0 ? "raw" : "qcow2", megabytes: 32)
    let sink = seed < 2 ? "" : "| \(Programs.python) $P/sink.py \(seed * 5)"
    try expect(
      "mkdir scratch; \(Self.tap) vm.qmp \(sink) > events; echo ${PIPESTATUS[0]}", "0",
      on: machine, seed: seed)
    let stream = try machine.check("events", seed: "\(seed)")
    #expect(stream.ended && stream.names == ["a", "b"])
  }

  @Test(arguments: ["raw", "qcow2"])
  func `holes that the guest makes are not in the backup`(format: String) throws {
    let machine = try Machine(format: format, megabytes: 96)
    try machine.keepBases()
    let run = try machine.sh(
      """
      mkdir scratch
      \(Self.standing(seconds: 3))
      \(Programs.python) -c 'import nbd; h = nbd.NBD(); h.set_export_name("a")
      h.connect_unix("guest.nbd")
      for place in range(0, h.get_size(), 131072): h.zero(65536, place)'
      wait $tap; code=$?; wait $reader; exit $code
      """)
    #expect(run.status == 0, "\(run.errors)")
    #expect(try machine.check("events", seed: "-").ended)
    try machine.expectNothingLeft()
  }

  @Test func `a reader that stands still stalls nothing`() throws {
    try expect("\(Self.standing(seconds: 4))\nwait $tap; echo $?; wait $reader", "0")
    #expect(try machine.check("events", seed: "1").ended)
  }

  @Test func `a reader that stands still does not hold up QEMU`() throws {
    // Reopening a node waits until nothing is under way on it, a job's requests included.
    try expect(
      """
      \(Self.standing(seconds: 4))
      SECONDS=0
      \(Programs.python) $P/qmp.py second.qmp blockdev-reopen '{"options":[
        {"driver":"raw","node-name":"a","file":"'$(\(Programs.python) $P/qmp.py second.qmp graph |
          grep -o 'vmatap-[^"]*c1' | head -n 1)'"}]}' > reopened
      [ $SECONDS -lt 3 ] && cat reopened
      wait $tap; echo $?; wait $reader
      """, "{}\n0")
    #expect(try machine.check("events", seed: "1").ended)
  }

  @Test func `a scratch folder that is full fails the backup and not the guest`() throws {
    let mount = try machine.sh("mount -t tmpfs -o size=1M none scratch")
    guard mount.status == 0 else {
      try Test.cancel("needs the right to mount a tmpfs")
    }
    defer { _ = try? machine.sh("umount scratch") }
    try expect(
      "\(Self.tap) vm.qmp 2> stderr | \(Programs.python) $P/sink.py 20 > events; "
        + "echo ${PIPESTATUS[0]}", "74")
    let words = "is full, or was not written for 10 seconds\n"
    #expect(try message().hasSuffix(words) && message().contains("old data is lost"))
    #expect(try machine.sh("df --output=used scratch | tail -n 1").output.trimmed == "0")
  }

  @Test func `the reader goes away`() throws {
    try expect(
      "\(Self.tap) vm.qmp 2> stderr | head -c 3000000 > events; echo ${PIPESTATUS[0]}", "74")
  }

  @Test func `a signal`() throws {
    try expect(
      "\(Self.standing(seconds: 3))\nkill -TERM $tap; wait $tap; echo $?; wait $reader", "143")
  }

  @Test func `somebody cancels the backup`() throws {
    try expect(
      """
      \(Self.standing(seconds: 3))
      q() { \(Programs.python) $P/qmp.py second.qmp "$@"; }
      job=$(q query-jobs | grep -o 'vmatap[^"]*' | head -n 1)
      q job-cancel "{\\"id\\":\\"$job\\"}" > cancel; wait $tap; echo $?; wait $reader
      """, "74")
    #expect(try message().contains("cancelled in QEMU"))
  }

  @Test(arguments: ["copy-before-write", "blockdev-reopen", "snapshot-access", "transaction"])
  func `the monitor is lost at some command, and comes back`(command: String) throws {
    try expect(
      """
      (\(Programs.python) $P/proxy.py proxy.qmp vm.qmp '"\(command)"'
        \(Programs.python) $P/proxy.py proxy.qmp vm.qmp) & sleep 0.3
      \(Self.tap) proxy.qmp > events 2> stderr; echo $?
      """, "74")
    #expect(try message() == "vma-tap: QEMU closed the monitor\n")
  }

  @Test func `a tap that was killed harms no write, and the next takes its nodes back`() throws {
    let graph = try machine.graph()
    let guest = try machine.withGuest(seed: 2) {
      let run = try machine.sh(
        """
        \(Self.standing(seconds: 1)); kill -KILL $tap; wait $tap; echo $?; wait $reader
        ls -A scratch
        """)
      #expect(run.output.trimmed == "137")
      #expect(try machine.leftovers() != "[]")
      let next = try machine.sh("\(Self.tap) vm.qmp > events")
      #expect(next.status == 0 && next.errors.contains("run that was killed"), "\(next.errors)")
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
    #expect(try machine.check("events", seed: "2").ended)
    #expect(try machine.graph() == graph)
    try machine.expectNothingLeft(in: 1)
  }

  @Test(arguments: [
    ("", "--fleece scratch"), ("--fleece scratch", ""), ("--fleece .", "--fleece ."),
  ])
  func `two backups at once`(first: String, second: String) throws {
    try expect(
      """
      mkfifo pipe; (head -c 1000000; sleep 3; cat) < pipe > one & reader=$!
      vma-tap --qmp vm.qmp \(first) > pipe & first=$!
      sleep 0.5
      vma-tap --qmp second.qmp -d a -d b \(second) > two; second=$?
      wait $first; echo $? $second; wait $reader
      """, "0 0", pause: 0.05)
    #expect(try machine.check("one", seed: "1").ended)
    #expect(try machine.check("two", seed: "1").ended)
  }

  @Test func `a disk that is put back still takes what the guest gives up`() throws {
    try expect("\(Self.tap) vm.qmp > events; echo $?", "0", pause: 0.01)
    let used = try machine.sh(
      """
      stat -c %b a.raw
      \(Programs.python) -c 'import nbd; h = nbd.NBD(); h.set_export_name("a")
      h.connect_unix("guest.nbd"); h.trim(h.get_size(), 0); h.flush()'
      stat -c %b a.raw
      """)
    let blocks = used.output.split(separator: "\n").compactMap { Int($0) }
    #expect(blocks.count == 2 && blocks[1] < blocks[0] / 2, "\(used)")
  }

  @Test func `a read-only disk needs no scratch file`() throws {
    try machine.keepBases()
    let run = try machine.sh(
      """
      cp b.raw ro.raw
      \(Programs.python) $P/qmp.py second.qmp blockdev-add '{"driver":"raw","node-name":"ro",
        "read-only":true,"file":{"driver":"file","filename":"ro.raw"}}'
      \(Self.tap) vm.qmp -d a -d ro=b > events
      """)
    #expect(run.status == 0 && run.errors == "", "\(run)")
    #expect(try machine.check("events", seed: "-").ended)
    try machine.expectNothingLeft()
  }

  @Test func `what cannot be fleeced is left alone`() throws {
    let added = try machine.sh(
      """
      q() { \(Programs.python) $P/qmp.py vm.qmp "$@"; }
      q blockdev-add '{"driver":"file","node-name":"f","filename":"b.raw"}'
      q blockdev-add '{"driver":"raw","node-name":"part","offset":65536,"size":65536,"file":"f"}'
      """)
    #expect(added.status == 0, "\(added.errors)")
    let graph = try machine.graph()
    for (arguments, status, words) in [
      ("--fleece scratch -d a -d a-file", 1, "a-file: can't be fleeced"),
      ("--fleece scratch -d part", 1, "part: can't be fleeced"),
      ("--fleece none", 73, "none: No such file or directory"),
      ("--fleece a.raw", 73, "a.raw: Not a directory"),
      ("--fleece scratch --list", 64, "--fleece"),
    ] as [(String, Int32, String)] {
      let run = try machine.sh("vma-tap --qmp vm.qmp \(arguments) > events")
      #expect(run.status == status && run.errors.contains(words), "\(run)")
      #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
      #expect(try machine.graph() == graph)
      try machine.expectNothingLeft()
    }
  }
}

@Suite(
  "Scratch files beside a whole machine", .serialized,
  .enabled(if: Programs.hasSystem, "needs qemu-system-x86_64 (qemu-system-x86)"))
struct FleeceSystemTests {
  let machine: Machine

  /// One disk is a drive, the other a node of a format in which zeros are no data.
  init() throws {
    machine = try Machine(.still, format: "qcow2", megabytes: 96)
    try machine.sh("mkdir scratch")
  }

  private func command(_ words: String, at monitor: String = "vm.qmp") throws -> String {
    try machine.sh("\(Programs.python) $P/qmp.py \(monitor) \(words)").output
  }

  private func isRunning() throws -> Bool {
    try command("query-status").contains("running\": true")
  }

  @Test(arguments: [true, false])
  func `a guest that runs runs on, and one that stands stays`(runs: Bool) throws {
    if runs { _ = try command("cont") }
    try machine.keepBases()
    let graph = try machine.graph()
    // What stands for the guest's writes comes through the second monitor.
    let run = try machine.sh(
      """
      write() {
        \(Programs.python) $P/qmp.py second.qmp human-monitor-command \
          "{\\"command-line\\":\\"qemu-io $1 \\\\\\"write $2 $3 65536\\\\\\"\\"}"
      }
      mkfifo pipe
      (head -c 1000000; sleep 3; cat) < pipe > events & reader=$!
      vma-tap --qmp vm.qmp --fleece scratch > pipe & tap=$!
      sleep 0.7; SECONDS=0
      for place in 0 1048576 8388608 12517376 25100288; do
        write drive-scsi0 "-P 0x55" $place
        write "-d /machine/peripheral/virtio1/virtio-backend" -z $((place % 9390592))
      done > written
      # Nothing waits for the reader, not even what waits for all requests to end.
      q() { \(Programs.python) $P/qmp.py second.qmp "$@"; }
      \(runs ? "q stop; q cont" : "")
      echo $((SECONDS < 2))
      wait $tap; code=$?; wait $reader; exit $code
      """)
    #expect(run.status == 0 && run.errors == "", "\(run.errors)")
    #expect(run.output.hasSuffix("1\n"), "\(run.output)")
    let written = try machine.sh("grep -c 'rror' written; qemu-img compare -U b.qcow2 base-b")
    #expect(written.output.hasPrefix("0\n") && written.status == 1, "\(written)")
    #expect(
      try machine.check("events", seed: "-", a: "drive-scsi0", b: "drive-virtio1").ended)
    #expect(try isRunning() == runs)
    #expect(try machine.graph() == graph)
    try machine.expectNothingLeft()
    #expect(try machine.sh("ls -A scratch").output == "")
  }

  @Test func `a guest runs on where QEMU refuses the last of its disks`() throws {
    _ = try command("cont")
    // Somebody else may write to it, past the device.
    let shared = try machine.sh(
      """
      q() { \(Programs.python) $P/qmp.py vm.qmp "$@"; }
      cp b.raw c.raw
      q blockdev-add '{"driver":"raw","node-name":"c",
        "file":{"driver":"file","filename":"c.raw","locking":"off"}}' &&
      q device_add '{"driver":"virtio-blk-pci","id":"vd2","drive":"c","share-rw":true}' &&
      q nbd-server-start '{"addr":{"type":"unix","data":{"path":"other.nbd"}}}' &&
      q block-export-add '{"type":"nbd","id":"x","node-name":"c","writable":true}'
      """)
    try #require(shared.status == 0, "\(shared)")
    let graph = try machine.graph()
    let run = try machine.sh("vma-tap --qmp vm.qmp --fleece scratch > events")
    #expect(run.status == 1 && run.errors.contains("does not start the backup"), "\(run)")
    #expect(run.errors.split(separator: "\n").count == 1, "\(run)")
    #expect(try isRunning())
    #expect(try machine.graph() == graph)
    try machine.expectNothingLeft()
    #expect(try machine.sh("ls -A scratch").output == "")
  }

  @Test(arguments: [true, false])
  func `a guest that was stopped for the instant runs on, whatever happens`(isKilled: Bool) throws {
    _ = try command("cont")
    let graph = try machine.graph()
    // The command that would let it run again does not reach QEMU.
    let run = try machine.sh(
      """
      \(Programs.python) $P/proxy.py proxy.qmp vm.qmp '"cont"' & proxy=$!
      sleep 0.3
      vma-tap --qmp proxy.qmp --fleece scratch > events 2> stderr & tap=$!
      wait $proxy
      \(Programs.python) $P/qmp.py second.qmp query-status
      if \(isKilled); then kill -KILL $tap; else
        \(Programs.python) $P/proxy.py proxy.qmp vm.qmp &
      fi
      wait $tap; echo $?
      """)
    #expect(run.output.contains("running\": false"))
    #expect(run.output.trimmed.hasSuffix(isKilled ? "137" : "74"), "\(run)")
    if isKilled {
      let next = try machine.sh("vma-tap --qmp vm.qmp -d scsi0 > events")
      #expect(next.status == 0 && next.errors.contains("run that was killed"), "\(next.errors)")
    }
    #expect(try isRunning())
    #expect(try machine.graph() == graph)
    try machine.expectNothingLeft(in: isKilled ? 1 : 0)
    #expect(try machine.sh("ls -A scratch").output == "")
  }
}
