// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite(
  "Two taps at the same time", .serialized,
  requires("qemu-storage-daemon", "qemu-system-x86_64", .pythonNBD))
struct OtherRunTests {
  /// Starts a backup whose reader stops after 1 MB for some seconds, and waits for its jobs.
  private static func standing(seconds: Double) -> String {
    """
    q() { \(Programs.python) $P/qmp.py second.qmp "$@"; }
    mkfifo pipe
    (head -c 1000000; sleep \(seconds); cat) < pipe > events & reader=$!
    vma-tap --qmp vm.qmp > pipe 2> stderr & tap=$!
    for _ in {1..100}; do q query-jobs | grep -q vmatap && break; sleep 0.05; done
    """
  }

  /// Kills both processes of a tap at once.
  private static let killAll = "kill -KILL $(pgrep -P $tap) $tap; wait $tap"

  @Test("A8: a healthy backup whose socket another tap cannot see continues", requires(.mounts))
  func otherTemporary() throws {
    let machine = try Machine(megabytes: 64)
    let guest = try machine.withGuest(seed: 5, pause: 0.02) {
      let run = try machine.sh(
        """
        \(Self.standing(seconds: 3))
        cat > other <<.
        mount -t tmpfs none $TMPDIR && exec vma-tap --qmp second.qmp -d a -d b
        .
        unshare --map-root-user --mount bash other > two; echo $?
        wait $tap; echo $?; wait $reader; cat stderr >&2
        """)
      #expect(run.output == "66\n0\n", "\(run.errors)")
      #expect(run.errors.contains(#"{"execute":"job-cancel","arguments":{"id":"vmatap-"#))
      #expect(run.errors.contains("No such file or directory"))
      #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(try machine.check("events", seed: "5").ended)
    try machine.expectNothingLeft()
  }

  @Test("A8: leftovers of a killed run are removed, including its folder")
  func killed() throws {
    let machine = try Machine(megabytes: 64)
    let run = try machine.sh("\(Self.standing(seconds: 1))\n\(Self.killAll); echo $?; wait $reader")
    #expect(run.output.trimmed == "137")
    #expect(try FileManager.default.contentsOfDirectory(atPath: machine.temporary).count == 1)
    let next = try machine.sh("vma-tap --qmp vm.qmp > events")
    #expect(next.status == 0 && next.errors.contains("a killed vma-tap left"), "\(next.errors)")
    try machine.keepBases()
    #expect(try machine.check("events", seed: "-").ended)
    try machine.expectNothingLeft()
  }

  @Test("A8: a concluded job of a killed run is dismissed, whatever its socket")
  func concluded() throws {
    let machine = try Machine()
    let run = try machine.sh(
      """
      \(Self.standing(seconds: 0.5))
      wait $tap
      q blockdev-add '{"driver":"null-co","node-name":"vmatap-1-x-n1","size":25165824}'
      q blockdev-backup '{"job-id":"vmatap-1-x-j1","device":"a","target":"vmatap-1-x-n1",
        "sync":"full","auto-dismiss":false}'
      for _ in {1..100}; do q query-jobs | grep -q concluded && break; sleep 0.05; done
      vma-tap --qmp vm.qmp > events; echo $?
      """)
    #expect(run.output.hasSuffix("\n0\n"), "\(run.output)\(run.errors)")
    try machine.expectNothingLeft()
  }

  @Test("A8: a socket with a full queue does not prove that its run is dead")
  func fullQueue() throws {
    let machine = try Machine(megabytes: 64)
    let run = try machine.sh(
      """
      \(Self.standing(seconds: 3))
      \(Programs.python) -c 'import glob, os, socket, time
      path, all = glob.glob(os.environ["TMPDIR"] + "/vma-tap-*/nbd")[0], []
      for _ in range(50):
          s = socket.socket(socket.AF_UNIX); s.setblocking(False); all.append(s)
          try: s.connect(path)
          except BlockingIOError: pass
      time.sleep(4)' & sleep 0.5
      vma-tap --qmp second.qmp -d a -d b > two; echo $?
      wait $tap; echo $?; wait $reader
      """)
    // QEMU 7.2 refuses a second backup of the same disk; the first one is not affected.
    #expect(run.output.hasSuffix("\n0\n"), "\(run.output)\(run.errors)")
    try machine.keepBases()
    #expect(try machine.check("events", seed: "-").ended)
    try machine.expectNothingLeft()
  }

  @Test(
    "A10: a QEMU that has dropped its user reaches the socket", requires(.root),
    arguments: ["", "--user nobody"])
  func user(option: String) throws {
    let machine = try Machine()
    let run = try machine.sh(
      """
      trap 'kill $(jobs -p)' EXIT
      chmod 711 .. ../tmp; chmod 777 .; cp a.raw c.raw; chmod 666 c.raw
      # The name of the option since QEMU 9.1.
      user='-run-with user=nobody'
      ! qemu-system-x86_64 -help | grep -q -e '-runas' || user='-runas nobody'
      qemu-system-x86_64 -nodefaults -display none -S -m 64 -accel tcg $user \
        -drive if=none,id=d0,file=c.raw,format=raw -device virtio-blk-pci,drive=d0 \
        -qmp unix:user.qmp,server=on,wait=off & qemu=$!
      while [ ! -S user.qmp ]; do sleep 0.1; done; sleep 0.2
      vma-tap --qmp user.qmp \(option) > events; echo $?
      """)
    #expect(run.output == "0\n", "\(run.errors)")
    try machine.expectNothingLeft()
  }

  @Test("A10: an unknown user is a usage error")
  func unknownUser() throws {
    let machine = try Machine()
    let run = try machine.sh("vma-tap --qmp vm.qmp --user no-such-user > events")
    #expect(run.status == 64 && run.errors.contains("no such user: no-such-user"))
  }

  @Test("A16: the message names the drive on which QEMU dies", arguments: [SIGKILL, SIGABRT])
  func death(signal: Int32) throws {
    let machine = try Machine(.still, megabytes: 64)
    let run = try machine.sh(
      """
      \(Self.standing(seconds: 1))
      kill -\(signal) \(machine.processID); wait $tap; echo $?; wait $reader; cat stderr >&2
      """)
    #expect(run.output == "74\n", "\(run.errors)")
    #expect(
      run.errors.contains("drive-scsi0: ") || run.errors.contains("nodeb: ")
        || run.errors.contains("QEMU has exited"), "\(run.errors)")
    #expect(!run.errors.contains("disk1") && !run.errors.contains("disk2"), "\(run.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: machine.temporary) == [])
  }
}
