// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Every signal that ends a process by default, except SIGKILL, ends a run like SIGTERM.
@Suite("C2: all signals that end a run")
struct SignalKindTests {
  let dir: Scratch
  let half = Array(Sample.wholeBytes.prefix(Sample.wholeBytes.count / 2))

  /// Not those that stop a process or have no effect, nor the C library's own, nor the three that
  /// are used otherwise.
  static let ending: [Int32] = (1...64).filter {
    ![
      SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGCHLD, SIGURG, SIGWINCH, SIGXFSZ,
      SIGUSR1, 32, 33,
    ].contains($0)
  }

  init() throws {
    dir = try Scratch()
    try dir.makeDirectory("out")
  }

  private func stall(
    _ tool: Tool, _ arguments: [String], fault: String = "", after bytes: [UInt8]? = nil
  ) throws -> Running {
    let running = try dir.start(
      tool, arguments, input: .open, environment: ["VMA_FAULT": fault])
    running.send(bytes ?? half)
    #expect(running.wait { running.hasTakenAll })
    usleep(20_000)
    return running
  }

  @Test(arguments: ending)
  func `C2: no signal leaves a file of a restore`(number: Int32) throws {
    // Without O_TMPFILE, there are files with hidden names.
    let running = try stall(.unpack, ["-C", "out"], fault: "tmpfile:*:EOPNOTSUPP")
    #expect(try dir.names(in: "out").contains { $0.hasSuffix(".part") })
    running.signal(number)
    #expect(running.finish(within: 20, closingInput: false).ending == .signal(number))
    try dir.expectNames([], in: "out")
  }

  @Test(arguments: [SIGQUIT, SIGALRM, SIGPROF, SIGXCPU, SIGPIPE, 40])
  func `C2: no signal leaves an output or a temporary file`(number: Int32) throws {
    let packing = try stall(
      .pack, ["-o", "out/b.vma", "--size", "d=1M", "d=-"], after: Array(Sample.scsi.prefix(99_999)))
    packing.signal(number)
    #expect(packing.finish(within: 20, closingInput: false).ending == .signal(number))
    for (tool, arguments) in [
      (Tool.toTar, ["-o", "out/a.tar"]), (.cat, ["-", "scsi0"]), (.unpack, ["-t"]),
    ] {
      let running = try stall(tool, arguments)
      running.signal(number)
      let outcome = running.finish(within: 20, closingInput: false)
      #expect(outcome.ending == .signal(number), "\(tool)")
      #expect(outcome.errors.isEmpty)
      dir.expectNoTemporaryFiles(after: outcome, #_sourceLocation)
    }
    try dir.expectNames([], in: "out")
  }

  @Test func `C2: a signal that the parent ignores stays ignored`() throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    let outcome = try dir.sh(
      """
      signals="HUP INT QUIT TERM ALRM XCPU USR1 PIPE RTMIN+3"
      trap '' $signals
      mkfifo in
      vma-unpack -C out - < in & tool=$!
      exec 8>in
      head -c 100000 a.vma >&8
      sleep 0.5
      for signal in $signals; do kill -$signal $tool; done
      sleep 0.2
      tail -c +100001 a.vma >&8
      exec 8>&-
      wait $tool; echo $?
      """)
    #expect(outcome.lines == ["0"])
    #expect(outcome.errors.isEmpty)
    try dir.expectWhole(in: "out")
  }

  @Test(arguments: [
    "vma-unpack -C out a.vma", "vma-to-tar -o out/a.tar a.vma", "vma-pack -o out/b.vma d=d.img",
    "vma-unpack -C out - < a.vma", "vma-pack -zo out/b.vma d=d.img",
  ])
  func `C2: exceeding the file size limit is an error with a message`(command: String) throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.write(Image.full(1 << 20, seed: 8), to: "d.img")
    let tool = try #require(Tool(rawValue: String(command.prefix { $0 != " " })))
    // A restored disk gets its size before anything is written.
    try dir.sh("ulimit -f 200; \(command)")
      .fails(tool == .unpack ? 73 : 74, tool, saying: "File too large")
    try dir.expectNames([], in: "out")
  }

  @Test func `C2: a reader that exits still ends a filter by SIGPIPE`() throws {
    let disk = Archive.Disk("d", Image.full(4 << 20, seed: 4))
    try dir.write(Archive([disk]).bytes(), to: "a.vma")
    for command in ["vma-cat a.vma", "vma-to-tar a.vma", "vma-pack d=a.vma"] {
      let outcome = try dir.sh("\(command) | head -c 1 > first; echo ${PIPESTATUS[0]}")
      #expect(outcome.lines == ["141"])
      #expect(outcome.errors.isEmpty)
      let ignoring = try dir.sh(
        "(trap '' PIPE; \(command) 2> words | head -c 1 > first; echo ${PIPESTATUS[0]})")
      #expect(ignoring.lines == ["74"])
      #expect(String(decoding: try dir.read("words"), as: UTF8.self).contains("Broken pipe"))
    }
  }
}
