// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import Testing

@Suite(
  "No fault of the tap affects the guest", .serialized,
  requires("qemu-storage-daemon", .pythonNBD))
struct FaultTests {
  let machine: Machine

  init() throws { machine = try Machine(megabytes: 96) }

  /// Starts a backup whose reader stops after 2 MB for some seconds.
  private func standing(seconds: Double = 3) -> String {
    """
    mkfifo pipe
    (head -c 2000000; sleep \(seconds); cat) < pipe > events & reader=$!
    vma-tap --qmp vm.qmp > pipe 2> stderr & tap=$!
    \(Machine.until(2_000_000))
    """
  }

  /// Runs a script while the guest writes.
  ///
  /// - Parameter status: the output of the script: the exit status of the tap.
  private func expect(
    _ script: String, status: Int32, pause: Double = 0.001,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let guest = try machine.withGuest(seed: 1, pause: pause) {
      let run = try machine.sh(script)
      #expect(run.output.trimmed == "\(status)", "\(run.errors)", sourceLocation: sourceLocation)
    }
    #expect(guest.errors == [], sourceLocation: sourceLocation)
    #expect(guest.worst < 2, "\(guest)", sourceLocation: sourceLocation)
    try machine.expectNothingLeft(sourceLocation: sourceLocation)
    if FileManager.default.fileExists(atPath: machine.path + "/events") {
      let hasEnd = try machine.hasEnd("events")
      #expect(hasEnd == (status == 0), sourceLocation: sourceLocation)
    }
  }

  @Test func `the reader exits`() throws {
    try expect(
      "vma-tap --qmp vm.qmp 2> stderr | head -c 3000000 > events; echo ${PIPESTATUS[0]}",
      status: 74)
  }

  @Test func `the reader and standard error are closed`() throws {
    try expect(
      "(vma-tap --qmp vm.qmp 2>&1; echo $? > code) | head -c 3000000 > events; cat code",
      status: 74)
  }

  @Test func `the disk is full`() throws {
    try expect("vma-tap --qmp vm.qmp > /dev/full 2> stderr; echo $?", status: 74)
    let message = try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
    #expect(message == "vma-tap: standard output: No space left on device\n")
  }

  @Test(arguments: ["pack", "zstd"])
  func `the next filter is killed`(victim: String) throws {
    try expect(
      """
      mkfifo one two three
      zstd -q < three > vm.vma.zst & zstd=$!
      \(Programs.python) $P/sink.py 20 < two > three 2> sink.log &
      vma-pack --events < one > two 2> pack.log & pack=$!
      vma-tap --qmp vm.qmp > one 2> stderr & tap=$!
      sleep 1
      kill -KILL $\(victim); wait $tap; echo $?; wait
      """, status: 74)
    // All data that was sent has arrived, possibly as a complete zstd file. It is not an archive.
    let test = try machine.sh("zstdcat vm.vma.zst 2> cut | vma-unpack -t")
    #expect(test.status == 65, "\(test.errors)")
    #expect(try machine.sh("zstdcat vm.vma.zst 2> cut | wc -c").output.trimmed.count > 6)
  }

  @Test func `vma-pack is killed while it writes its file`() throws {
    try expect(
      """
      mkfifo one; mkdir store
      vma-pack --events -z -o store/vm.vma.zst < one 2> pack.log & pack=$!
      (vma-tap --qmp vm.qmp 2> stderr; echo $? > code) | \(Programs.python) $P/sink.py 20 > one &
      sleep 1
      kill -KILL $pack; wait; cat code; ls -A store
      """, status: 74)
  }

  @Test(requires(.mounts))
  func `the disk of vma-pack is full`() throws {
    try expect(
      """
      cat > pack <<.
      mount -t tmpfs -o size=32M none store || exit 9
      vma-pack --events -o store/vm.vma; echo \\$? > packed; ls -A store > found
      .
      mkdir store
      vma-tap --qmp vm.qmp 2> stderr |
        unshare --map-root-user --mount bash pack 2> pack.log; echo ${PIPESTATUS[0]}
      """, status: 74)
    let left = try machine.sh("cat packed found pack.log")
    #expect(left.output == "74\nvma-pack: store/vm.vma: No space left on device\n")
  }

  /// The guest is not affected: its old data waits in memory, or in the spill file if it writes as
  /// fast as it can.
  @Test(arguments: [0.08, 0.0])
  func `vma-pack is stopped for ten seconds, and continues`(pause: Double) throws {
    let guest = try machine.withGuest(seed: 4, pause: pause) {
      let run = try machine.sh(
        """
        mkfifo one
        vma-pack --events -z -o vm.vma.zst < one & pack=$!
        exec 3> one; sleep 0.3
        kill -STOP $pack; (exec 3>&-; sleep 10; kill -CONT $pack) &
        vma-tap --qmp vm.qmp >&3; echo $?; exec 3>&-
        wait $pack; echo $?; vma-unpack -C restored vm.vma.zst
        """)
      #expect(run.output == "0\n0\n" && run.status == 0, "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(guest.worst < 5, "\(guest)")
    #expect(try machine.check("restored", seed: "4").ended)
    try machine.expectNothingLeft()
  }

  @Test(arguments: [SIGTERM, SIGINT, SIGHUP])
  func `a signal`(number: Int32) throws {
    // A shell makes its background jobs ignore SIGINT; env(1) undoes that.
    let script = standing(seconds: 0.5).replacingOccurrences(
      of: "vma-tap --qmp", with: "env --default-signal=INT vma-tap --qmp")
    try expect(
      "\(script)\nkill -\(number) $tap; wait $tap; echo $?; wait $reader", status: 128 + number)
    let stream = try machine.sh("tail -c 32 events").output
    #expect(stream.hasSuffix("terminated by signal \(number)"))
  }

  @Test func `a signal while the end of the stream waits for its reader`() throws {
    try machine.succeed("truncate -s 1M a.raw b.raw")
    try expect(
      "\(standing())\nsleep 0.5; kill -TERM $tap; wait $tap; echo $?; wait $reader", status: 143)
  }

  @Test func `another client cancels the backup`() throws {
    try expect(
      """
      \(standing())
      q() { \(Programs.python) $P/qmp.py second.qmp "$@"; }
      job=$(q query-jobs | grep -o 'vmatap[^"]*' | head -n 1)
      q job-cancel "{\\"id\\":\\"$job\\"}" > cancel; wait $tap; echo $?; wait $reader
      """, status: 74, pause: 0.05)
    let message = try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
    #expect(message.contains("canceled in QEMU"))
  }

  @Test func `a disk cannot be read`() throws {
    try expect(
      """
      cp b.raw bad.raw
      \(Programs.python) $P/qmp.py second.qmp blockdev-add '{"driver":"raw","node-name":"bad",
        "file":{"driver":"blkdebug","image":{"driver":"file","filename":"bad.raw"},
        "inject-error":[{"event":"none","iotype":"read","errno":5,"sector":4096}]}}' > added
      vma-tap --qmp vm.qmp -d a -d bad > events 2> stderr; echo $?
      """, status: 74)
    let message = try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
    #expect(message == "vma-tap: bad: QEMU's job failed: Input/output error\n")
  }

  @Test func `the monitor is lost and returns`() throws {
    let proxy = "\(Programs.python) $P/proxy.py proxy.qmp vm.qmp & proxy=$!; sleep 0.3"
    let script = standing(seconds: 5).replacingOccurrences(of: "--qmp vm", with: "--qmp proxy")
    try expect(
      """
      \(proxy)
      \(script)
      kill -KILL $proxy; sleep 1
      kill -0 $tap || echo gone
      \(proxy)
      wait $tap; echo $?; wait $reader
      """, status: 0)
  }

  @Test func `a killed tap does not prevent the next backup`() throws {
    let run = try machine.sh(
      "\(standing())\nkill -KILL $(pgrep -P $tap) $tap; wait $tap; echo $?; wait $reader")
    #expect(run.output.trimmed == "137")
    #expect(try machine.leftovers() != "[]")
    let next = try machine.sh("vma-tap --qmp vm.qmp > events")
    #expect(next.status == 0 && next.errors.contains("a killed vma-tap left"), "\(next.errors)")
    try machine.expectNothingLeft()
    let guest = try machine.withGuest(seed: 3) {
      let run = try machine.sh("vma-tap --qmp vm.qmp > events")
      #expect(run.status == 0 && run.errors == "", "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(try machine.check("events", seed: "3").ended)
  }

  @Test(arguments: ["kill -KILL", "kill -TERM", "quit"])
  func `D: QEMU exits`(how: String) throws {
    let end =
      how == "quit"
      ? "\(Programs.python) $P/qmp.py second.qmp quit > quit" : "\(how) \(machine.processID)"
    let run = try machine.sh(
      "\(standing())\n\(end); wait $tap; echo $?; wait $reader; cat stderr >&2"
    )
    #expect(run.output.trimmed == "74", "\(run.errors)")
    #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
    // The data sent so far has arrived, possibly truncated, and is not accepted as a backup.
    #expect(try !machine.hasEnd("events"))
    let packed = try machine.sh("wc -c < events; vma-pack --events -o vm.vma < events")
    #expect(packed.status == 65 && (Int(packed.output.trimmed) ?? 0) > 1_000_000, "\(packed)")
    #expect(packed.errors.split(separator: "\n").count == 1, "\(packed.errors)")
    #expect(!FileManager.default.fileExists(atPath: machine.path + "/vm.vma"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: machine.temporary) == [])
  }
  /// A guest whose QEMU exits loses its connection, but gets no write error.
  @Test func `QEMU is ordered to exit while its guest writes`() throws {
    let guest = try machine.withGuest(seed: 6, pause: 0.001) {
      let run = try machine.sh(
        """
        \(standing())
        kill -TERM \(machine.processID); wait $tap; echo $?
        timeout 5 tail -f --pid \(machine.processID) /dev/null; echo $?; wait $reader
        """)
      #expect(run.output == "74\n0\n", "\(run.errors)")
    }
    #expect(!guest.errors.isEmpty && guest.errors.allSatisfy { !$0.contains("EIO") }, "\(guest)")
    #expect(guest.worst < 5, "\(guest)")
    let message = try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
    #expect(message.split(separator: "\n").count == 1)
    #expect(try FileManager.default.contentsOfDirectory(atPath: machine.temporary) == [])
  }
}
