// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import TapTool

@Suite("A monitor that misbehaves", .serialized, requires("qemu-storage-daemon", .pythonNBD))
struct MonitorTests {
  let machine: Machine

  init() throws { machine = try Machine(megabytes: 64) }

  /// Starts a monitor that misbehaves, `bad.qmp`.
  private func monitor(_ mode: String, _ target: String = "") -> String {
    """
    trap 'kill $(jobs -p)' EXIT
    \(Programs.python) $P/monitor.py bad.qmp \(mode) \(target) 2> monitor.log & monitor=$!
    while [ ! -S bad.qmp ]; do sleep 0.05; done; sleep 0.1
    """
  }

  // MARK: Before the run

  @Test(
    "A7: before the run it is an error within a time limit",
    arguments: [
      ("silent", 8, "no greeting"), ("half", 8, "no greeting"), ("drip", 8, "no greeting"),
      // A fast machine reaches the size limit of a message before the time limit.
      ("other", 4, "not a QMP monitor"), ("endless-greeting", 8, ""),
      ("backlog", 8, "other clients are waiting"), ("no-capabilities", 8, "qmp_capabilities"),
      ("mute", 35, "query-named-block-nodes within 30 seconds"),
      ("undecodable", 4, "invalid QMP"), ("brace", 4, "invalid QMP"),
      ("wrong", 4, "unexpected answer"),
      ("endless", 40, ""), ("flood", 35, "query-named-block-nodes within 30 seconds"),
      ("deep", 10, "invalid QMP"), ("close", 4, "closed the monitor"),
    ])
  func before(mode: String, seconds: Int, words: String) throws {
    let run = try machine.sh(
      """
      \(monitor(mode))
      vma-tap --qmp bad.qmp --list; echo $?
      """, atMost: seconds)
    #expect(run.output.trimmed == "66", "\(run.errors)")
    #expect(
      run.errors.contains("bad.qmp: ") && (words == "" || run.errors.contains(words)),
      "\(run.errors)")
    #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
  }

  @Test("A7: a signal ends the wait", arguments: ["silent", "backlog", "mute", "flood"])
  func signal(mode: String) throws {
    let run = try machine.sh(
      """
      \(monitor(mode))
      vma-tap --qmp bad.qmp > events & tap=$!
      sleep 1; kill -TERM $tap; wait $tap; echo $?
      """, atMost: 4)
    #expect(run.output.trimmed == "143", "\(run.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: machine.temporary) == [])
  }

  // MARK: Unusual but valid behavior

  @Test("A7: values over several lines, and answers to others", arguments: ["pretty", "ids"])
  func unusual(mode: String) throws {
    let guest = try machine.withGuest(seed: 1) {
      let run = try machine.sh(
        "\(monitor(mode, "vm.qmp"))\nvma-tap --qmp bad.qmp > events; echo $?", atMost: 20)
      #expect(run.output == "0\n" && run.errors == "", "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(try machine.check("events", seed: "1").ended)
    try machine.expectNothingLeft()
  }

  // MARK: In the middle of the run

  @Test(
    "A7: the backup survives the loss of the monitor",
    arguments: ["mid-garbage", "mid-close", "mid-long"])
  func during(mode: String) throws {
    let guest = try machine.withGuest(seed: 2, pause: 0.01) {
      let run = try machine.sh(
        """
        \(monitor(mode, "vm.qmp"))
        vma-tap --qmp bad.qmp | \(Programs.python) $P/sink.py 20 > events; echo ${PIPESTATUS[0]}
        """, atMost: 40)
      #expect(run.output == "0\n" && run.errors == "", "\(run.errors)")
    }
    #expect(guest.errors == [])
    #expect(try machine.check("events", seed: "2").ended)
    let log = try String(contentsOfFile: machine.path + "/bad.qmp.log", encoding: .utf8)
    #expect(log.contains("closed\n{"), "the client did not come again")
    try machine.expectNothingLeft()
  }

  @Test("A7: a monitor that stops answering is replaced by a new connection, in time")
  func mute() throws {
    let guest = try machine.withGuest(seed: 3, pause: 0.01) {
      let run = try machine.sh(
        """
        \(monitor("mid-mute", "vm.qmp"))
        vma-tap --qmp bad.qmp > events; echo $?
        """, atMost: 45)
      #expect(run.output == "0\n" && run.errors == "", "\(run.errors)")
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
    #expect(try machine.check("events", seed: "3").ended)
    try machine.expectNothingLeft()
  }

  @Test("A7: a signal ends a run whose monitor does not answer")
  func muteAndSignal() throws {
    let guest = try machine.withGuest(seed: 3, pause: 0.01) {
      let run = try machine.sh(
        """
        \(monitor("mid-mute", "vm.qmp"))
        mkfifo pipe; (head -c 1000000; sleep 9; cat) < pipe > events &
        vma-tap --qmp bad.qmp > pipe & tap=$!
        sleep 2; kill -TERM $tap; wait $tap; echo $?
        """, atMost: 12)
      #expect(run.output == "143\n", "\(run.errors)")
    }
    #expect(guest.errors == [] && guest.worst < 2, "\(guest)")
    try machine.expectNothingLeft()
  }

  // MARK: Commands

  @Test("A4: on-cbw-error and x-perf are sent only if the schema has them")
  func schema() throws {
    let run = try machine.sh(
      "\(monitor("schema", "vm.qmp"))\nvma-tap --qmp bad.qmp > events; echo $?", atMost: 20)
    #expect(run.output == "0\n" && run.errors == "", "\(run.errors)")
    let log = try String(contentsOfFile: machine.path + "/bad.qmp.log", encoding: .utf8)
    let line = try #require(log.split(separator: "\n").first { $0.contains("\"transaction\"") })
    #expect(line.contains(#""on-cbw-error":"break-snapshot""#))
    #expect(!line.contains("x-perf"))

    let other = try Machine()
    let plain = try other.sh(
      "\(monitor("pass", "vm.qmp"))\nvma-tap --qmp bad.qmp > events; echo $?", atMost: 20)
    #expect(plain.output == "0\n", "\(plain.errors)")
    let sent = try String(contentsOfFile: other.path + "/bad.qmp.log", encoding: .utf8)
    #expect(sent.contains("x-perf"))
  }

  @Test("A9: the nodes are listed once, without their backing chains")
  func nodes() throws {
    let run = try machine.sh(
      "\(monitor("pass", "vm.qmp"))\nvma-tap --qmp bad.qmp > events; echo $?", atMost: 20)
    #expect(run.output == "0\n", "\(run.errors)")
    let log = try String(contentsOfFile: machine.path + "/bad.qmp.log", encoding: .utf8)
    let lists = log.split(separator: "\n").filter { $0.contains("query-named-block-nodes") }
    #expect(lists.count == 1 && lists.allSatisfy { $0.contains(#""flat":true"#) }, "\(lists)")
  }

  @Test(
    "A11: a VM that was migrated, or has not arrived yet, is refused",
    arguments: ["inmigrate", "finish-migrate", "postmigrate"])
  func migration(state: String) throws {
    let machine = try Machine(.still)
    let run = try machine.sh(
      """
      \(monitor("state:" + state, "vm.qmp"))
      vma-tap --qmp bad.qmp > events; echo $?
      """, atMost: 20)
    #expect(run.output == "66\n" && run.errors.contains("migrat"), "\(run.errors)")
    #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
    try machine.expectNothingLeft()
  }

  @Test("A11: a real QEMU after its migration, and one that waits for a migration")
  func realMigration() throws {
    let machine = try Machine(.still)
    let run = try machine.sh(
      """
      trap 'kill $(jobs -p)' EXIT
      q() { \(Programs.python) $P/qmp.py vm.qmp "$@"; }
      q migrate '{"uri":"exec:cat > state"}' > /dev/null
      for _ in {1..100}; do q query-status | grep -q postmigrate && break; sleep 0.1; done
      vma-tap --qmp vm.qmp > events; echo $?
      qemu-system-x86_64 -nodefaults -display none -M none -incoming defer \
        -qmp unix:in.qmp,server=on,wait=off & sleep 1
      vma-tap --qmp in.qmp > events; echo $?
      """, atMost: 40)
    #expect(run.output == "66\n66\n", "\(run.errors)")
    #expect(
      run.errors.contains("has migrated") && run.errors.contains("waits for an incoming migration"))
    try machine.expectNothingLeft()
  }
}

@Suite("Parsing of the monitor's messages")
struct SplitterTests {
  private func values(_ text: String, pieces: Int) throws -> [String] {
    var splitter = JSONSplitter()
    var found: [String] = []
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let piece = Array(rest.prefix(pieces))
      rest = rest.dropFirst(pieces)
      splitter.append(piece.span)
      while let value = try splitter.next() { found.append(String(decoding: value, as: UTF8.self)) }
    }
    return found
  }

  @Test("A7: objects are found however lines and reads are split", arguments: [1, 2, 7, 1000])
  func objects(pieces: Int) throws {
    let text = "\r\n {\"a\": \"}\\\"{\\\\\"}{\"b\":\n [{}, \"]\"]\n}\r\n{}"
    let expected = ["{\"a\": \"}\\\"{\\\\\"}", "{\"b\":\n [{}, \"]\"]\n}", "{}"]
    #expect(try values(text, pieces: pieces) == expected)
  }

  @Test(
    "A7: anything else is not QMP",
    arguments: [
      "x", "}", "[1]", "\"a\"", "{}1", "{}}", "{\"a\":" + String(repeating: "[", count: 600),
    ])
  func nonsense(text: String) {
    #expect(throws: QMPLost.self) { try values(text, pieces: 1000) }
  }

  @Test("A4: members of alternate types have no name")
  func schema() throws {
    let text = """
      [{"name":"blockdev-backup","ret-type":"0","meta-type":"command","arg-type":"5"},
       {"name":"5","members":[{"name":"on-cbw-error","default":null,"type":"9"}],
        "meta-type":"object"},
       {"name":"6","members":[{"type":"str"},{"type":"null"}],"meta-type":"alternate"},
       {"name":"7","variants":[{"case":"a","type":"0"}],"tag":"t","members":[],"meta-type":"object"}]
      """
    let schema = try JSONDecoder().decode(Schema.self, from: Data(text.utf8))
    #expect(schema.has("on-cbw-error", in: "blockdev-backup"))
    #expect(!schema.has("x-perf", in: "blockdev-backup"))
  }
}
