// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite(
  "A backup contains all disks at the same point in time", .serialized,
  requires("qemu-storage-daemon", .pythonNBD))
struct BackupTests {
  @Test(arguments: 0..<5)
  func `ten backups each, while a guest writes to both disks`(group: Int) throws {
    let machine = try Machine()
    for seed in group * 10..<group * 10 + 10 {
      // Every third reader is slow, so most of the backup waits for it.
      let sink = seed % 3 == 0 ? "| \(Programs.python) $P/sink.py 30" : ""
      let guest = try machine.withGuest(seed: seed) {
        let run = try machine.sh(
          "vma-tap --qmp vm.qmp \(sink) > events; exit ${PIPESTATUS[0]}")
        #expect(run.status == 0 && run.errors == "", "\(run.errors)")
      }
      #expect(guest.errors == [])
      let stream = try machine.check("events", seed: "\(seed)")
      #expect(stream.ended)
      #expect(stream.names == ["a", "b"])
      try machine.expectNothingLeft()
    }
  }

  @Test func `if a reader stops for some seconds, copying pauses and nothing fails`() throws {
    let machine = try Machine()
    let guest = try machine.withGuest(seed: 99, pause: 0.01) {
      let run = try machine.sh(
        """
        vma-tap -v --qmp vm.qmp | (head -c 2000000; sleep 4; cat) > events
        exit ${PIPESTATUS[0]}
        """)
      #expect(run.status == 0)
      #expect(run.errors.contains("paused 1 times"), "\(run.errors)")
    }
    #expect(guest.errors == [])
    // The guest continues to write while the stream is not read.
    #expect(guest.worst < 2, "\(guest)")
    #expect(try machine.check("events", seed: "99").ended)
    try machine.expectNothingLeft()
  }

  @Test func `a slow reader costs no memory`() throws {
    let machine = try Machine(megabytes: 256)
    let run = try machine.sh(
      """
      \(Programs.python) -c 'import resource, subprocess, sys
      code = subprocess.call(sys.argv[1:])
      print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
      sys.exit(code)' vma-tap --qmp vm.qmp | \(Programs.python) $P/sink.py 120 > /dev/null
      exit ${PIPESTATUS[0]}
      """)
    #expect(run.status == 0)
    // In KiB; a queue that kept its used buffers needed twice as much.
    let size = try #require(Int(run.errors.trimmed), "\(run.errors)")
    #expect(size < 64 << 10)
  }

  @Test func `configs, names and the time are in the stream`() throws {
    let machine = try Machine()
    try machine.keepBases()
    let before = Int(Date().timeIntervalSince1970)
    let run = try machine.sh(
      """
      echo 'cores: 2' > qemu-server.conf
      vma-tap --qmp vm.qmp -c qemu-server.conf -c fw=qemu-server.conf -d b=drive-efidisk0 \
      -d a=x > events
      """)
    #expect(run.status == 0 && run.errors == "", "\(run.errors)")
    let stream = try machine.check("events", seed: "-", a: "x", b: "drive-efidisk0")
    #expect(stream.names == ["drive-efidisk0", "x"])
    #expect(stream.configs == ["qemu-server.conf": "cores: 2\n", "fw": "cores: 2\n"])
    #expect((before...before + 10).contains(stream.begin ?? 0))
  }

  @Test func `clusters that only a guest write can cause are marked`() throws {
    let machine = try Machine(megabytes: 220)
    let guest = try machine.withGuest(seed: 6, pause: 0.005) {
      // The stream is not read, so background copying is paused near the start.
      try machine.succeed("vma-tap --qmp vm.qmp | (sleep 2; cat) > events")
    }
    #expect(guest.errors == [])
    let live = try machine.check("events", seed: "6")
    #expect(live.ended && live.byGuest["O"] ?? 0 > 0)
    try machine.keepBases()
    try machine.succeed(
      "vma-tap --qmp vm.qmp | \(Programs.python) $P/sink.py 300 > events")
    let alone = try machine.check("events", seed: "-")
    #expect(alone.ended && alone.byGuest == ["O": 0, "Z": 0])
  }

  @Test func `two backups at once`() throws {
    let machine = try Machine(megabytes: 64)
    let guest = try machine.withGuest(seed: 5, pause: 0.05) {
      let run = try machine.sh(
        """
        mkfifo pipe; (head -c 1000000; sleep 2; cat) < pipe > one & reader=$!
        vma-tap --qmp vm.qmp > pipe & first=$!
        sleep 0.5
        vma-tap --qmp second.qmp -d a -d b > two; second=$?
        wait $first; echo $? $second; wait $reader
        """)
      #expect(run.output.trimmed == "0 0", "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(try machine.check("one", seed: "5").ended)
    #expect(try machine.check("two", seed: "5").ended)
    try machine.expectNothingLeft()
  }
}
