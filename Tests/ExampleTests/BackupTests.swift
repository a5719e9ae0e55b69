// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite(
  "vma-backup backs up all machines of a host, tests the backups, and keeps the latest",
  requires("qemu-system-x86_64", "systemd-analyze"))
struct BackupTests {
  let dir: Scratch
  /// The processes of QEMU: a machine `db` and another one whose name contains a space.
  private let machines: [Running]

  static let names = ["db", "web server"]

  init() throws {
    dir = try Scratch()
    try dir.sh(
      """
      mkdir run backups tools
      head -c 3M /dev/urandom >db.raw
      head -c 2M /dev/urandom >'web server.raw'
      for tool in vma-{pack,tap,unpack}; do ln -s '\(Tool.directory)'/$tool tools; done
      """
    ).succeeds()
    let dir = dir
    machines = try Self.names.map { name in
      try Running(
        "qemu-system-x86_64",
        [
          "-nodefaults", "-display", "none", "-accel", "tcg", "-S", "-m", "64",
          "-qmp", "unix:run/\(name).qmp,server=on,wait=off",
          "-drive", "if=virtio,format=raw,file=\(name).raw",
        ], in: dir.path,
        environment: [
          "PATH": QEMU.current.path(
            before: ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")
        ])
    }
    for name in Self.names {
      let answers = machines[0].wait { dir.exists("run/\(name).qmp") }
      try #require(answers)
    }
  }

  /// Runs the example with the tools in the folder `tools`, some of which a test may replace.
  private func backUp(
    _ arguments: String = "backups 'run/*.qmp'", before: String = ""
  ) throws -> Outcome {
    try dir.sh(
      "PATH=$PWD/tools:/usr/bin:/bin:/usr/sbin\n\(before)\n'\(Programs.examples)/vma-backup' \(arguments)"
    )
  }

  private func backups(of name: String) throws -> [String] {
    try dir.names(in: "backups").filter { $0.hasPrefix(name + "-") }
  }

  /// Replaces a tool by a script. In it, `$real` is the tool.
  private func replace(_ tool: Tool, by script: String) throws {
    try dir.sh("rm tools/\(tool.rawValue)").succeeds()
    try dir.write(
      "#!/bin/bash\nreal='\(tool.path)'\n\(script)\n", to: "tools/\(tool.rawValue)")
    try dir.sh("chmod +x tools/*").succeeds()
  }

  @Test func `each machine gets a backup that restores, and the latest ones are kept`() throws {
    // Files that are not of this script, or of a machine with a longer name, are kept.
    let others = [
      "web server-copy.vma.zst", "web server-2-2020-01-01T000000Z.vma.zst", "notes",
      "db-2020-01-01T000000Z.vma.zst.idx",
    ]
    for file in others { try dir.write("", to: "backups/\(file)") }
    for name in Self.names {
      for day in 1...3 {
        try dir.write("old", to: "backups/\(name)-2020-01-0\(day)T000000Z.vma.zst")
      }
    }
    try dir.sh("mkdir backups/.vma-backup; echo half >backups/.vma-backup/half").succeeds()

    let outcome = try backUp("--keep 2 backups 'run/*.qmp'")
    #expect(outcome.ending == .exit(0), "\(outcome)")
    #expect(outcome.lines.count == 2)
    for (name, line) in zip(Self.names, outcome.lines) {
      let found = try backups(of: name).filter { !others.contains($0) }
      #expect(found.count == 2 && found[0] == "\(name)-2020-01-03T000000Z.vma.zst")
      #expect(line.hasPrefix("\(name): \(found[1]), ") && line.hasSuffix("tested"))
      try dir.sh(
        """
        rm -rf restored; vma-unpack -C restored 'backups/\(found[1])' &&
          cmp restored/*.raw '\(name).raw' && [ $(stat -c %a 'backups/\(found[1])') = 600 ]
        """
      ).succeeds()
    }
    #expect(Set(others).isSubset(of: try dir.names(in: "backups")))
    #expect(try dir.names(in: "backups/.vma-backup") == ["lock"])
  }

  @Test(
    "a machine whose backup fails keeps its old ones, and the others are backed up",
    arguments: [
      (Tool.unpack, #"[[ $* = *db-* ]] && exit 65; exec $real "$@""#, "vma-unpack", 65),
      (.tap, #"[[ $* = *db.qmp* ]] && exit 66; exec $real "$@""#, "vma-tap", 66),
      (.tap, #"[[ $* = *db.qmp* ]] && kill -9 $$; exec $real "$@""#, "vma-tap", 137),
      (.pack, #"[[ $* = *db-* ]] && exit 74; exec $real "$@""#, "vma-pack", 74),
      (.tap, #"$real "$@"; [[ $* = *web* ]] || exit 74"#, "vma-tap", 74),
    ])
  func failing(tool: Tool, script: String, program: String, status: Int) throws {
    try dir.write("old", to: "backups/db-2020-01-01T000000Z.vma.zst")
    try replace(tool, by: script)
    let outcome = try backUp("--keep 1 backups 'run/*.qmp'")
    #expect(outcome.ending == .exit(Int32(status)), "\(outcome)")
    #expect(outcome.lines.first == "db: FAILED: \(program): exit status \(status)")
    #expect(outcome.lines.last?.hasPrefix("web server: web server-") == true)
    #expect(try backups(of: "db") == ["db-2020-01-01T000000Z.vma.zst"])
    #expect(try backups(of: "web server").count == 1)
    #expect(try dir.names(in: "backups/.vma-backup") == ["lock"])
  }

  @Test("if the disk is full, old backups stay", requires(.mounts, .root))
  func full() throws {
    let outcome = try dir.sh(
      """
      PATH=$PWD/tools:/usr/bin:/bin:/usr/sbin unshare --mount bash -c '
        mount -t tmpfs -o size=2560K none backups
        echo old | tee backups/{db,web\\ server}-2020-01-01T000000Z.vma.zst >/dev/null
        "\(Programs.examples)/vma-backup" --keep 1 backups "run/*.qmp"; echo $?; ls backups'
      """)
    // The smaller one fits, and replaces its old one.
    #expect(outcome.lines.first == "db: FAILED: vma-pack: exit status 74", "\(outcome)")
    #expect(outcome.lines.dropFirst(2).first == "74")
    #expect(outcome.lines.dropFirst(3).first == "db-2020-01-01T000000Z.vma.zst")
    #expect(outcome.lines.count == 5 && outcome.lines[4].hasPrefix("web server-2"))
    #expect(!outcome.lines[4].contains("2020-01-01"))
  }

  @Test func `machines that are shut off are skipped`() throws {
    try dir.write("old", to: "backups/off-2020-01-01T000000Z.vma.zst")
    // One QEMU was killed, so its socket remains. Another one has exited normally, so it does not.
    try dir.sh(
      "/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"run/off.qmp\")'"
    ).succeeds()
    let outcome = try backUp("--keep 1 backups 'run/o*.qmp' run/gone.qmp")
    #expect(outcome.ending == .exit(0), "\(outcome)")
    #expect(outcome.text == "off: off, skipped\ngone: off, skipped\n")
    #expect(try backups(of: "off").count == 1)
    let none = try backUp("backups 'run/x*.qmp'")
    #expect(none.ending == .exit(0) && none.text == "no machine is running\n")
  }

  @Test func `wrong usage`() throws {
    try dir.sh("mkdir other; ln -s ../run/db.qmp other/db.qmp").succeeds()
    let cases: [(arguments: String, status: Int32, words: String)] = [
      ("", 64, "DIRECTORY"), ("backups", 64, "SOCKET"),
      ("--keep 0 backups run/db.qmp", 64, "--keep"),
      ("backups run/db.qmp other/db.qmp", 64, "same name"), ("none run/db.qmp", 73, "No such file"),
      ("backups 'none/*.qmp'", 66, "no such directory"), ("--old backups x", 64, "--old"),
    ]
    for (arguments, status, words) in cases {
      let outcome = try backUp(arguments)
      #expect(outcome.ending == .exit(status) && outcome.output.isEmpty, "\(outcome)")
      #expect(outcome.errors.hasPrefix("vma-backup: ") && outcome.errors.contains(words))
      #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome)")
    }
    #expect(try backups(of: "db") == [])
  }

  @Test(
    "runs do not overlap, even if the first one was killed", arguments: ["", "kill -KILL $first"])
  func overlapping(kill: String) throws {
    try replace(.tap, by: #"touch started; until [ -e go ]; do sleep 0.02; done; exec $real "$@""#)
    let outcome = try backUp(
      "backups 'run/*.qmp'; echo $?; touch go; wait; exit 0",
      before: """
        '\(Programs.examples)/vma-backup' backups 'run/*.qmp' >first & first=$!
        until [ -e started ]; do sleep 0.02; done
        \(kill)
        """)
    #expect(outcome.text == "73\n", "\(outcome)")
    #expect(outcome.errors.contains("backups: in use by another run"))
  }

  @Test(
    "a signal cancels the backup, and QEMU is left as it was", arguments: [SIGTERM, SIGINT, SIGHUP])
  func signal(number: Int32) throws {
    // The stream is not read, so the backup is in progress until it is canceled.
    try replace(.pack, by: "read -r -N 100 <&0; touch started; exec sleep 100")
    let outcome = try dir.sh(
      """
      PATH=$PWD/tools:$PATH env --default-signal=INT '\(Programs.examples)/vma-backup' \
        backups 'run/*.qmp' & main=$!
      until [ -e started ]; do sleep 0.02; done
      kill -\(number) $main; wait $main; echo $?
      for name in db 'web server'; do
        /usr/bin/python3 '\(Programs.live)/qmp.py' "run/$name.qmp" left
      done
      """)
    #expect(outcome.lines.first?.hasPrefix("db: FAILED: ") == true, "\(outcome)")
    #expect(Array(outcome.lines.dropFirst()) == ["\(128 + number)", "[]", "[]"], "\(outcome)")
    #expect(try dir.names(in: "backups") == [".vma-backup"])
    #expect(try dir.names(in: "backups/.vma-backup") == ["lock"])
  }

  @Test func `systemd accepts the units and runs the script`() throws {
    // Only the path of the installed script does not exist here.
    try dir.sh(
      """
      mkdir units && cp '\(Programs.examples)'/vma-backup.{service,timer} units
      sed -i "s,/usr/local/sbin,\(Programs.examples)," units/*.service
      systemd-analyze verify --man=no units/vma-backup.{service,timer}
      """
    ).succeeds()
    let unit = try String(contentsOfFile: dir("units/vma-backup.service"), encoding: .utf8)
    let command = try #require(
      unit.split(separator: "\n").first { $0.hasPrefix("ExecStart=") }?.dropFirst(10))
    let outcome = try backUp(
      command.replacingOccurrences(of: "/var/backups/vma", with: "backups")
        .replacingOccurrences(of: "/run/qemu", with: "run")
        .replacingOccurrences(of: "\(Programs.examples)/vma-backup ", with: ""))
    #expect(outcome.ending == .exit(0) && outcome.lines.count == 2, "\(outcome)")
  }
}
