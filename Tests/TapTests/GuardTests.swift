// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import TestSupport
import Testing

/// Which of the two processes of a tap dies, and when.
struct Death: Sendable, CustomTestStringConvertible {
  var qemu: QEMU
  /// A variable of the script: `worker` or `tap`, which is the guard.
  var victim: String
  /// Whether the jobs are paused because the reader is stopped.
  var isPaused: Bool

  var testDescription: String { "\(qemu), \(victim), \(isPaused ? "paused" : "running")" }
  /// The exit status of the guard.
  var status: Int { victim == "worker" ? 74 : 137 }

  static let all = QEMU.allCases.filter { $0.version != nil }.flatMap { qemu in
    ["worker", "tap"].flatMap { victim in
      [false, true].map { Death(qemu: qemu, victim: victim, isPaused: $0) }
    }
  }
}

@Suite(
  "One of the two processes dies", .serialized,
  requires("qemu-storage-daemon", "qemu-system-x86_64", .pythonNBD))
struct GuardTests {
  /// Starts a backup whose reader is slow, or stops for some seconds.
  private static func start(isPaused: Bool, _ monitor: String = "vm.qmp") -> String {
    """
    q() { \(Programs.python) $P/qmp.py second.qmp "$@"; }
    mkfifo pipe
    \(isPaused ? "(head -c 1000000; sleep 2; cat)" : "\(Programs.python) $P/sink.py 10") \
      < pipe > events & reader=$!
    vma-tap --qmp \(monitor) > pipe 2> stderr & tap=$!
    for _ in {1..200}; do q query-jobs | grep -q vmatap && break; sleep 0.05; done
    sleep 0.7; worker=$(pgrep -P $tap)
    """
  }

  /// Waits until all processes of the tap have exited, and for the reader.
  private static let end = """
    wait $tap; echo $?
    for _ in {1..100}; do kill -0 $worker 2> /dev/null || break; sleep 0.05; done
    kill -0 $worker 2> /dev/null && echo the worker lives
    wait $reader
    """

  private func check(_ death: Death, _ machine: Machine, output: String) throws {
    #expect(output == "\(death.status)\n")
    let words = try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
    if death.victim == "worker" {
      #expect(words.contains("the worker process was killed by signal 9"), "\(words)")
      #expect(words.split(separator: "\n").count == 1, "\(words)")
    }
    try machine.expectNothingLeft()
    let ended = try machine.sh("tail -c 32 events | head -c 5")
    #expect(ended.output != "CBE1E")
  }

  @Test("A6: SIGKILL while the guest writes: it gets no error", arguments: Death.all)
  func killed(death: Death) throws {
    let machine = try Machine(megabytes: 96, qemu: death.qemu)
    let guest = try machine.withGuest(seed: 1, pause: 0.001) {
      let run = try machine.sh(
        "\(Self.start(isPaused: death.isPaused))\nkill -KILL $\(death.victim)\n\(Self.end)")
      try check(death, machine, output: run.output)
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
  }

  /// A write always waits on both disks: one that has not been resent must not be canceled.
  @Test("A6: SIGKILL of the worker while the guest never pauses", arguments: 0..<6 * Soak.factor)
  func busy(round: Int) throws {
    let death = try #require(Death.all.first { $0.victim == "worker" && $0.isPaused })
    let machine = try Machine(megabytes: 96, qemu: death.qemu)
    let guest = try machine.withGuest(seed: 10 + round, pause: 0) {
      let run = try machine.sh(
        "\(Self.start(isPaused: true))\nsleep 0.\(round % 10)\nkill -KILL $worker\n\(Self.end)")
      try check(death, machine, output: run.output)
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
  }

  /// An iothread serves disk a.
  @Test("A6: SIGKILL while the VM is stopped and no guest writes", arguments: Death.all)
  func idle(death: Death) throws {
    let machine = try Machine(.still, megabytes: 96, qemu: death.qemu)
    let run = try machine.sh(
      "\(Self.start(isPaused: death.isPaused))\nkill -KILL $\(death.victim)\n\(Self.end)")
    try check(death, machine, output: run.output)
  }

  @Test("A6: `stop` immediately after a SIGKILL", arguments: Death.all.filter { !$0.isPaused })
  func stop(death: Death) throws {
    let machine = try Machine(.still, megabytes: 96, qemu: death.qemu)
    let run = try machine.sh(
      """
      q() { \(Programs.python) $P/qmp.py second.qmp "$@"; }
      q cont > /dev/null
      \(Self.start(isPaused: false))
      kill -KILL $\(death.victim); timeout 5 \(Programs.python) $P/qmp.py second.qmp stop > stopped
      cat stopped >&2
      \(Self.end)
      """)
    #expect(run.errors.contains("{}"), "\(run.errors)")
    try check(death, machine, output: run.output)
  }

  @Test("A6: SIGKILL of the worker while another client waits for the monitor")
  func heldMonitor() throws {
    let machine = try Machine(megabytes: 96)
    let guest = try machine.withGuest(seed: 2, pause: 0.001) {
      let run = try machine.sh(
        """
        \(Self.start(isPaused: true))
        \(Programs.python) -c 'import socket, time
        s = socket.socket(socket.AF_UNIX); s.connect("vm.qmp"); time.sleep(4)' &
        sleep 0.3; kill -KILL $worker
        \(Self.end)
        """)
      try check(
        Death(qemu: .current, victim: "worker", isPaused: true), machine, output: run.output)
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
  }

  @Test("A6: SIGKILL to the process group of the guard")
  func group() throws {
    let machine = try Machine(megabytes: 96)
    let guest = try machine.withGuest(seed: 3, pause: 0.001) {
      let script = Self.start(isPaused: false)
        .replacingOccurrences(of: "vma-tap --qmp", with: "setsid vma-tap --qmp")
      let run = try machine.sh("\(script)\nkill -KILL -- -$tap\n\(Self.end)")
      #expect(run.output == "137\n")
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
    try machine.expectNothingLeft()
  }

  /// Three descriptors are standard ones; two disks and the monitor need three more.
  @Test("A6: SIGKILL of the worker while the guard can open no more files", arguments: [8, 7, 6])
  func descriptors(limit: Int) throws {
    let machine = try Machine(megabytes: 96)
    let guest = try machine.withGuest(seed: 9, pause: 0.001) {
      let run = try machine.sh(
        """
        \(Self.start(isPaused: true))
        prlimit --nofile=\(limit) --pid $tap; kill -KILL $worker
        \(Self.end)
        """)
      try check(
        Death(qemu: .current, victim: "worker", isPaused: true), machine, output: run.output)
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
  }

  @Test("A6: too few open files for the disks are refused before any command to QEMU")
  func fewDescriptors() throws {
    let machine = try Machine(megabytes: 64)
    let guest = try machine.withGuest(seed: 10, pause: 0.001) {
      for limit in stride(from: 16, through: 40, by: 3) {
        let run = try machine.sh(
          "(ulimit -n \(limit); exec vma-tap --qmp vm.qmp 2> stderr > events); echo $?")
        #expect(["0\n", "1\n", "73\n"].contains(run.output), "\(limit): \(run)")
        let words = try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
        #expect(
          run.output == "0\n" ? words == "" : words.split(separator: "\n").count == 1,
          "\(limit): \(words)")
      }
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
    try machine.expectNothingLeft()
  }

  @Test("A6: memory that is exhausted during a run", arguments: ["worker", "tap"])
  func memory(victim: String) throws {
    let machine = try Machine(megabytes: 96)
    let guest = try machine.withGuest(seed: 4, pause: 0.001) {
      let run = try machine.sh(
        """
        \(Self.start(isPaused: false))
        prlimit --as=1000000 --pid $\(victim)
        \(Self.end)
        """)
      // It may need no more memory than it has.
      #expect(["0\n", "1\n", "74\n"].contains(run.output), "\(run.output)")
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
    try machine.expectNothingLeft()
  }

  @Test(
    "A6: every signal that ends a process ends the run",
    arguments: [
      SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGUSR2, SIGALRM,
      SIGTERM, 16, SIGXCPU, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSYS, 34, 50, 64,
    ], ["tap", "worker"])
  func signal(number: Int32, receiver: String) throws {
    let machine = try Machine(megabytes: 64)
    let guest = try machine.withGuest(seed: 5, pause: 0.001) {
      // A shell makes its background jobs ignore two of them; env(1) undoes that. A stopped reader
      // would not get the last record.
      let script = Self.start(isPaused: false).replacingOccurrences(
        of: "vma-tap --qmp", with: "env --default-signal=INT,QUIT vma-tap --qmp")
      let run = try machine.sh("\(script)\nkill -\(number) $\(receiver)\n\(Self.end)")
      #expect(run.output == "\(128 + number)\n", "\(run.errors)")
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
    try machine.expectNothingLeft()
    #expect(try machine.sh("tail -c 27 events").output.hasSuffix("terminated by signal \(number)"))
  }

  @Test(
    "A6: these signals do not end it", arguments: ["USR1", "TSTP", "TTIN", "TTOU", "PIPE", "XFSZ"])
  func harmless(name: String) throws {
    let machine = try Machine(megabytes: 64)
    let guest = try machine.withGuest(seed: 6, pause: 0.001) {
      let run = try machine.sh(
        "\(Self.start(isPaused: false))\nkill -\(name) $tap; kill -\(name) $worker\n\(Self.end)")
      #expect(run.output == "0\n", "\(run.errors)")
      let lines = try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
        .split(separator: "\n").count
      #expect(name == "USR1" ? (1...2).contains(lines) : lines == 0)
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
    #expect(try machine.check("events", seed: "6").ended)
    try machine.expectNothingLeft()
  }

  @Test(
    "A6: a second connection cancels the backup only if it opens an export",
    arguments: [true, false])
  func secondConnection(opens: Bool) throws {
    let machine = try Machine(megabytes: 64)
    let guest = try machine.withGuest(seed: 7, pause: 0.001) {
      let run = try machine.sh(
        """
        \(Self.start(isPaused: false))
        \(Programs.python) -c 'import glob, os, socket, nbd
        path = glob.glob(os.environ["TMPDIR"] + "/vma-tap-*/nbd")[0]
        if \(opens ? "True" : "False"):
            handle = nbd.NBD(); handle.set_export_name("disk2"); handle.connect_unix(path)
        else:
            for data in (b"", b"GET / HTTP/1.0\\r\\n\\r\\n", b"\\0\\0\\0\\3" + b"x" * 40):
                s = socket.socket(socket.AF_UNIX); s.connect(path); s.sendall(data); s.close()
            open("silent", "w"); all = [socket.socket(socket.AF_UNIX) for _ in range(3)]
            for s in all: s.connect(path)'
        \(Self.end)
        """)
      #expect(run.output == (opens ? "74\n" : "0\n"), "\(run.errors)")
    }
    let words = try String(contentsOfFile: machine.path + "/stderr", encoding: .utf8)
    #expect(words == (opens ? "vma-tap: b: a second connection was opened for this disk\n" : ""))
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
    try machine.expectNothingLeft()
  }

  @Test("A6: the kernel kills the worker first, and the guard closes the stream")
  func processes() throws {
    let machine = try Machine(megabytes: 64)
    let run = try machine.sh(
      """
      \(Self.start(isPaused: true))
      a=$(cat /proc/$tap/oom_score_adj); b=$(cat /proc/$worker/oom_score_adj)
      [ $b -gt $a ] || [ $b = 1000 ] && echo more
      readlink /proc/$tap/fd/1; ls /proc/$tap/task | wc -l
      kill $tap
      \(Self.end)
      """)
    #expect(run.output == "more\n/dev/null\n1\n143\n", "\(run.errors)")
    try machine.expectNothingLeft()
  }

  @Test("A4: SIGKILL of both processes is no error for the guest of a QEMU with on-cbw-error")
  func both() throws {
    for qemu in QEMU.allCases {
      guard let version = qemu.version, let major = Int(version.split(separator: ".")[0]),
        major > 10
      else { continue }
      let machine = try Machine(megabytes: 96, qemu: qemu)
      let guest = try machine.withGuest(seed: 8, pause: 0.001) {
        let run = try machine.sh(
          "\(Self.start(isPaused: false))\nkill -KILL $worker $tap; wait $tap; echo $?; wait $reader"
        )
        #expect(run.output == "137\n")
      }
      #expect(guest.errors == [], "\(version): \(guest)")
      let next = try machine.sh("vma-tap --qmp vm.qmp > events")
      #expect(next.status == 0, "\(next.errors)")
      try machine.expectNothingLeft()
    }
  }
}
