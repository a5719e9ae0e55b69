// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("A stopped run leaves nothing, and a waiting one prints its status")
struct SignalTests {
  let dir: Scratch
  /// Large enough that a part of it is written while the rest is missing.
  let part = Array(Sample.wholeBytes.prefix(Sample.wholeBytes.count / 2))

  init() throws {
    dir = try Scratch()
    try dir.makeDirectory("out")
  }

  private func stall(
    _ tool: Tool, _ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Running {
    let running = try dir.start(tool, arguments, input: .open)
    running.send(part)
    let isTaken = running.wait { running.hasTakenAll }
    #expect(isTaken, "all that was sent should be read", sourceLocation: sourceLocation)
    usleep(20_000)
    return running
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func `vma-unpack`(number: Int32) throws {
    let running = try stall(.unpack, ["-C", "out"])
    running.signal(number)
    #expect(running.finish(closingInput: false).ending == .signal(number))
    try dir.expectNames([], in: "out")
    try dir.expectNames(["out"])
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func `vma-unpack with an old file of the same name`(number: Int32) throws {
    try dir.write("precious", to: "out/qemu-server.conf")
    let running = try stall(.unpack, ["-f", "-C", "out"])
    running.signal(number)
    #expect(running.finish(closingInput: false).ending == .signal(number))
    try dir.expectNames(["qemu-server.conf"], in: "out")
    try dir.expect("out/qemu-server.conf", holds: Array("precious".utf8))
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func `vma-unpack while salvaging`(number: Int32) throws {
    let running = try stall(.unpack, ["--salvage", "--lost", "out", "-C", "out"])
    running.signal(number)
    #expect(running.finish(closingInput: false).ending == .signal(number))
    try dir.expectNames([], in: "out")
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func `vma-cat and its waiting room`(number: Int32) throws {
    let running = try stall(.cat, ["-", "scsi0"])
    running.signal(number)
    let outcome = running.finish(closingInput: false)
    #expect(outcome.ending == .signal(number))
    dir.expectNoTemporaryFiles(after: outcome, #_sourceLocation)
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func `vma-to-tar and its spool`(number: Int32) throws {
    let running = try stall(.toTar, ["-o", "out/a.tar"])
    running.signal(number)
    let outcome = running.finish(closingInput: false)
    #expect(outcome.ending == .signal(number))
    dir.expectNoTemporaryFiles(after: outcome, #_sourceLocation)
    try dir.expectNames([], in: "out")
  }

  @Test(arguments: [
    (Tool.unpack, ["-C", "out"]), (.unpack, ["-t"]), (.cat, ["-", "scsi0"]), (.toTar, []),
  ])
  func `SIGUSR1 prints one line and the run continues`(tool: Tool, arguments: [String]) throws {
    let running = try stall(tool, arguments)
    running.signal(SIGUSR1)
    #expect(running.wait(atMost: 10) { running.errors.last == 0x0a })
    running.send(Sample.wholeBytes.dropFirst(part.count))
    let outcome = running.finish()
    #expect(outcome.ending == .exit(0))
    #expect(outcome.errorLines.count == 2, "\(outcome.errors)")
    if arguments.first == "-C" { try dir.expectWhole(in: "out") }
    if tool == .cat { expectSame(outcome.output, Sample.scsi) }
  }

  @Test func `SIGUSR1 while vma-pack waits for its source`() throws {
    let running = try dir.start(.pack, ["--size", "d=1M", "d=-"], input: .open)
    running.send(Sample.scsi.prefix(500_000))
    #expect(running.wait { running.hasTakenAll })
    running.signal(SIGUSR1)
    #expect(running.wait(atMost: 10) { running.errors.last == 0x0a })
    running.send(Sample.scsi.dropFirst(500_000))
    let outcome = running.finish()
    #expect(outcome.ending == .exit(0))
    expectSame(try ParsedArchive(outcome.output).image("d"), Sample.scsi)
  }

  @Test(arguments: [
    (Tool.unpack, ["-C", "out"]), (.unpack, ["-t"]), (.cat, ["-", "scsi0"]), (.toTar, []),
  ])
  func `a summary with -v, no output with -q`(
    tool: Tool, arguments: [String]
  ) throws {
    let input = Input.pipe(Sample.wholeBytes)
    for options in [["-q"], ["--quiet"], ["--progress", "never"], ["--progress", "auto"]] {
      try dir.run(tool, options + arguments, input: input).succeeds()
      try? FileManager.default.removeItem(atPath: dir("out"))
    }
    for option in ["-v", "--verbose"] {
      let outcome = try dir.run(tool, [option] + arguments, input: input)
      #expect(outcome.ending == .exit(0))
      #expect(!outcome.errors.isEmpty)
      try? FileManager.default.removeItem(atPath: dir("out"))
    }
  }

  @Test(arguments: [
    (Tool.unpack, ["-C", "out"]), (.unpack, ["-t"]), (.cat, ["-", "scsi0"]), (.toTar, []),
  ])
  func `progress if requested, on a terminal or not`(tool: Tool, arguments: [String]) throws {
    let running = try stall(tool, ["--progress", "always"] + arguments)
    #expect(running.wait(atMost: 60) { !running.errors.isEmpty })
    running.send(Sample.wholeBytes.dropFirst(part.count))
    let outcome = running.finish()
    #expect(outcome.ending == .exit(0))
    // A log contains complete lines, and the size of the disks from the header of the pipe's
    // archive.
    for line in outcome.errorLines.dropLast() {
      #expect(line.contains(/^vma-[a-z-]+: \d+ %, .* of \d.*iB$/), "\(line)")
    }
    #expect(outcome.errors.last == "\n" && !outcome.errors.contains("\r"))
  }

  @Test(arguments: [
    (["-C", "out"], true), (["--progress", "never", "-C", "out"], false),
    (["-q", "-C", "out"], false), (["--progress", "auto", "-C", "out"], true),
  ])
  func `on a terminal, progress is shown by default`(arguments: [String], isShown: Bool) throws {
    let running = try dir.start(
      .unpack, arguments, input: .open, errorsOnTerminal: true,
      environment: ["TERM": "xterm", "COLUMNS": "80"])
    running.send(part)
    #expect(running.wait { running.hasTakenAll })
    #expect(running.wait(atMost: isShown ? 10 : 2) { !running.errors.isEmpty } == isShown)
    running.send(Sample.wholeBytes.dropFirst(part.count))
    #expect(running.finish().ending == .exit(0))
    try dir.expectWhole(in: "out")
  }

  @Test(requires("python3"), arguments: ["", "cat |"])
  func `in a pipeline, only the last tool shows progress`(between: String) throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    // The header that vma-pack writes shows that it has started.
    let pipeline = """
      set -o pipefail
      { head -c \(part.count) a.vma; sleep 2; tail -c +\(part.count + 1) a.vma; } |
        { until [ -s out.vma ]; do sleep 0.1; done; exec vma-cat - scsi0; } |
        \(between) vma-pack --size d=\(Sample.scsi.count) d=- > out.vma
      """
    try dir.write(pipeline, to: "pipeline")
    let outcome = try dir.sh(
      "python3 -c 'import pty; pty.spawn([\"bash\", \"pipeline\"])' < /dev/null")
    outcome.succeeds()
    #expect(outcome.text.contains("vma-pack: ") && !outcome.text.contains("vma-cat: "))
    expectSame(try ParsedArchive(dir.read("out.vma")).image("d"), Sample.scsi)
  }

  @Test(arguments: [Tool.cat, .toTar], ["a.vma", "- < <(cat a.vma)"])
  func `a reader that exits ends a filter silently`(tool: Tool, source: String) throws {
    // More than the largest pipe can contain.
    let disk = Archive.Disk("d", Image.full(4 << 20, seed: 4))
    try dir.write(Archive([disk]).bytes(), to: "a.vma")
    let outcome = try dir.sh(
      "\(tool.rawValue) \(source) | head -c 1 > first; echo ${PIPESTATUS[0]}")
    #expect(outcome.lines == ["141"])
    #expect(outcome.errors.isEmpty)
  }

  @Test(arguments: [(Tool.cat, ["a.vma", "scsi0"]), (.toTar, ["a.vma"])])
  func `a full disk is 74, a terminal is 64`(tool: Tool, arguments: [String]) throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.run(tool, arguments, output: .append("/dev/full")).fails(74, tool)
    try dir.run(tool, arguments, output: .terminal).fails(64, tool)
  }
}
