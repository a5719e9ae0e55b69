// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite(
  "A guest does not wait for the reader of the stream", .serialized,
  requires("qemu-storage-daemon", .pythonNBD))
struct SpillTests {
  let machine: Machine

  init() throws {
    machine = try Machine(megabytes: 96)
    try machine.succeed("mkdir spill")
  }

  /// Starts a backup whose reader stops after 2 MB for some seconds.
  private static func standing(
    _ options: String, seconds: Double, fault: String = "", prefix: String = ""
  ) -> String {
    """
    mkfifo pipe
    (head -c 2000000; sleep \(seconds); cat) < pipe > events & reader=$!
    VMA_FAULT=\(fault) \(prefix) vma-tap -v --qmp vm.qmp --tmpdir spill \(options) \
      > pipe 2> stderr & tap=$!
    sleep 0.7
    """
  }

  private func message() throws -> String {
    try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
  }

  @Test("A5: a stopped reader delays neither the guest nor QEMU")
  func standsStill() throws {
    let guest = try machine.withGuest(seed: 1) {
      let run = try machine.sh(
        """
        \(Self.standing("", seconds: 6))
        sleep 2; SECONDS=0
        # Reopening a node waits until none of its requests is in progress.
        \(Programs.python) $P/qmp.py second.qmp blockdev-reopen '{"options":[
          {"driver":"raw","node-name":"a","file":"a-file","discard":"unmap"}]}'
        echo $((SECONDS <= 1))
        wait $tap; echo $?; wait $reader; ls -A spill
        """)
      #expect(run.output == "{}\n1\n0\n", "\(run.errors)")
    }
    #expect(guest.errors == [])
    // Without a spill file, it would be as long as the reader is stopped.
    #expect(guest.worst < 2, "\(guest)")
    #expect(try machine.check("events", seed: "1").ended)
    try machine.expectNothingLeft()
    #expect(try message().contains(" MiB spilled, guest writes held for at most 0 ms"))
  }

  /// The guest gets no error and is held for no longer than the backup's patience.
  ///
  /// - Parameter words: a part of the message, which must be one line.
  private func expectFailure(
    _ options: String, fault: String = "", prefix: String = "", words: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let guest = try machine.withGuest(seed: 2) {
      let run = try machine.sh(
        """
        \(Self.standing("--patience 2 \(options)", seconds: 12, fault: fault, prefix: prefix))
        wait $tap; echo $?; pkill -P $reader; kill $reader; ls -A spill
        """)
      #expect(run.output == "74\n", "\(run.errors)", sourceLocation: sourceLocation)
    }
    #expect(guest.errors == [], sourceLocation: sourceLocation)
    #expect(guest.worst > 1 && guest.worst < 4.5, "\(guest)", sourceLocation: sourceLocation)
    let message = try message()
    #expect(
      message.hasPrefix("vma-tap: the reader of the stream is too slow: a guest write was held")
        && message.hasSuffix(words + "\n") && message.split(separator: "\n").count == 1,
      "\(message)", sourceLocation: sourceLocation)
    try machine.expectNothingLeft(sourceLocation: sourceLocation)
  }

  @Test("A5: no spill file")
  func none() throws {
    try expectFailure("--spill-limit 0", words: "the spill file is disabled (raise --spill-limit)")
  }

  @Test("A5: a spill file that is full")
  func limit() throws {
    try expectFailure(
      "--spill-limit 2M",
      words: "spill file in spill: is full: 2.00 MiB (raise --spill-limit)")
  }

  @Test(
    "A5: a file system that is full, or fails",
    arguments: [("ENOSPC", "No space left on device"), ("EIO", "Input/output error")])
  func fileSystem(code: String, words: String) throws {
    try expectFailure(
      "", fault: "pwrite:40+:\(code)", words: "spill file in spill: \(words) (use --tmpdir)")
  }

  @Test("A5: space that becomes available again")
  func fileSystemRecovers() throws {
    let fault = (40...44).map { "pwrite:\($0):ENOSPC" }.joined(separator: ",")
    let guest = try machine.withGuest(seed: 1) {
      let run = try machine.sh(
        """
        \(Self.standing("", seconds: 4, fault: fault))
        wait $tap; echo $?; wait $reader
        """)
      #expect(run.output == "0\n", "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(try machine.check("events", seed: "1").ended)
  }

  @Test("A5: a spill file that blocks")
  func blocks() throws {
    try expectFailure(
      "", fault: "pwrite:40+:delay=30000",
      words: "spill file in spill: its disk is too slow (use --tmpdir)")
  }

  @Test("A5: the last space of a file system stays free", requires(.mounts))
  func reserve() throws {
    try machine.succeed(
      """
      cat > mounted <<.
      mount -t tmpfs -o size=\\$1M none spill && shift && exec "\\$@"
      .
      """)
    func mounted(_ megabytes: Int) -> String {
      "unshare --map-root-user --mount bash mounted \(megabytes)"
    }
    try expectFailure(
      "", prefix: mounted(1040),
      words: "spill file in spill: less than 1 GiB or 5 % of the file system would be free "
        + "(use --tmpdir)")
    let start = try machine.sh("\(mounted(900)) vma-tap --qmp vm.qmp --tmpdir spill > events")
    #expect(start.status == 0 && start.errors.contains("spill file in spill: not used"))
  }

  @Test("A5: wrong options are reported before any command to QEMU")
  func options() throws {
    for (options, status, words) in [
      ("--tmpdir none", 73, "none: No such file or directory"),
      ("--fleece none", 73, "none: No such file or directory"),
      ("--tmpdir a.raw", 73, "a.raw: Not a directory"),
      ("--tmpdir /proc", 73, "/proc: "),
      ("--spill-limit x", 64, "--spill-limit: x is not a size"),
      ("--spill-limit=-1", 64, "--spill-limit: -1 is not a size"),
      ("--spill-limit 99999999999T", 64, "is not a size"),
      ("--patience 0", 64, "--patience"), ("--patience=-1", 64, "--patience"),
      ("--patience 1.5", 64, "--patience"), ("--patience x", 64, "--patience"),
    ] as [(String, Int32, String)] {
      // A socket without a server.
      let run = try machine.sh("vma-tap --qmp none.qmp \(options) > events")
      #expect(run.status == status && run.errors.contains(words), "\(run)")
      #expect(run.errors.split(separator: "\n").filter { !$0.contains("--fleece") }.count == 1)
    }
    let most = try machine.sh("vma-tap --qmp vm.qmp --patience \(Int.max) > events")
    #expect(most.status == 0, "\(most.errors)")
    #expect(most.errors.hasPrefix("vma-tap: warning: --patience: many guests"), "\(most.errors)")
  }
}

@Suite(
  "Nor does a complete machine wait", .serialized,
  requires("qemu-system-x86_64", "qemu-img", .linuxGuest))
struct SpillSystemTests {
  @Test("A5: stop, query-status and a reset are answered while the reader is stopped")
  func isAnswered() throws {
    let machine = try Machine(.linux(onError: "report"), megabytes: 64)
    try machine.waitForRecords(20)
    let run = try machine.sh(
      """
      mkfifo pipe
      (head -c 1000000; sleep 8; cat) < pipe > events & reader=$!
      vma-tap -v --qmp vm.qmp > pipe 2> stderr & tap=$!
      q() { \(Programs.python) $P/qmp.py second.qmp "$@"; }
      q set-action '{"reboot":"reset"}' > answer; sleep 2
      for command in query-status stop query-status cont system_reset query-status stop cont; do
        start=$(date +%s%N)
        q $command > answer
        echo $((($(date +%s%N) - start) / 1000000))
      done
      wait $tap; code=$?; wait $reader; cat stderr >&2; exit $code
      """)
    // How much is spilled depends on the speed of the guest; the other suite checks that.
    #expect(run.status == 0, "\(run.errors)")
    let times = run.output.split(separator: "\n").compactMap { Int($0) }
    // Python starts in a tenth of a second.
    #expect(times.count == 8 && times.allSatisfy { $0 < 1100 }, "\(times)")
    try machine.expectNothingLeft()
  }
}
