// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Standard error is a full pipe whose reader has stopped or exited.
@Suite("C1: no run waits for standard error")
struct StandardErrorTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.write(Sample.scsi, to: "d.img")
    try dir.makeDirectory("out")
  }

  /// Runs a command whose standard error, `stuck`, accepts nothing.
  private func runStuck(_ command: String, seconds: Int = 60) throws -> Outcome {
    try dir.sh(
      """
      mkfifo stuck; exec 9<>stuck
      dd if=/dev/zero of=stuck oflag=nonblock bs=64k count=1 2>/dev/null
      timeout -s KILL \(seconds) \(command)
      """)
  }

  @Test(arguments: [
    "vma-unpack -v --progress always -C out a.vma", "vma-unpack -v --progress always -t a.vma",
    "vma-cat -v --progress always a.vma scsi0 > cat.img",
    "vma-to-tar -v --progress always -o out/a.tar a.vma",
    "vma-pack -v --progress always -o out/b.vma d=d.img",
  ])
  func `C1: a run succeeds even if its standard error is blocked`(command: String) throws {
    let outcome = try runStuck("\(command) 2>stuck")
    #expect(outcome.ending == .exit(0))
    if command.contains("-C out") { try dir.expectWhole(in: "out") }
    if command.contains("cat") { try dir.expect("cat.img", holds: Sample.scsi) }
  }

  /// Longer than the time between two status lines, so that one is due.
  @Test(arguments: [Tool.unpack, .cat, .toTar])
  func `C1: a long run succeeds even if its standard error is blocked`(tool: Tool) throws {
    let arguments = [Tool.unpack: "-C out -", .cat: "- scsi0", .toTar: "-"][tool] ?? ""
    let outcome = try runStuck(
      """
      bash -c '{ head -c 100000 a.vma; sleep 1.5; tail -c +100001 a.vma; } |
        \(tool.rawValue) -v --progress always \(arguments) > result 2>stuck; exit ${PIPESTATUS[1]}'
      """)
    #expect(outcome.ending == .exit(0))
    if tool == .unpack { try dir.expectWhole(in: "out") }
    if tool == .cat { try dir.expect("result", holds: Sample.scsi) }
  }

  @Test func `C1: a failed run ends with its status even if its standard error is blocked`() throws
  {
    for (command, status) in [
      ("vma-unpack --nonsense", 64), ("vma-unpack -t /dev/null", 65), ("vma-cat missing.vma", 66),
      ("vma-unpack -f -C a.vma a.vma", 73), ("vma-cat a.vma scsi0 > /dev/full", 74),
      ("vma-tap --qmp missing.qmp > tap", 66),
    ] as [(String, Int32)] {
      let outcome = try runStuck("\(command) 2>stuck")
      #expect(outcome.ending == .exit(status), "\(command)")
      try? FileManager.default.removeItem(atPath: dir("stuck"))
    }
  }

  /// SIGUSR1 requests a status line, for which there is not enough space.
  @Test(arguments: [SIGTERM, SIGHUP, SIGALRM, SIGUSR1])
  func `C1: signals work even if standard error is blocked`(number: Int32) throws {
    let outcome = try runStuck(
      """
      bash -c '
        mkfifo in; exec 8<>in
        vma-unpack --progress always -C out - < in 2>stuck & sleep 1
        kill -\(number) $!; sleep 0.5; kill -\(number) $!; sleep 0.2; kill $!
        wait $!; echo $?'
      """)
    #expect(outcome.lines == ["\(128 + (number == SIGUSR1 ? SIGTERM : number))"])
    try dir.expectNames([], in: "out")
  }

  @Test func `C1: a reader of standard error that exits does not affect a run`() throws {
    for command in [
      "vma-unpack -v --progress always -C out a.vma", "vma-pack -vo out/b.vma d=d.img",
      "vma-to-tar -vo out/a.tar a.vma", "vma-cat -v a.vma scsi0 > cat.img",
    ] {
      try dir.sh("{ sleep 0.2; \(command); echo $? > status; } 2>&1 | true").succeeds()
      #expect(try dir.read("status") == Array("0\n".utf8), "\(command)")
    }
    try dir.sh("rm out/b.vma out/a.tar").succeeds()
    try dir.expectWhole(in: "out")
    try dir.sh("{ sleep 0.2; vma-cat a.vma nothing; echo $? > status; } 2>&1 | true").succeeds()
    #expect(try dir.read("status") == Array("66\n".utf8))
  }
}
