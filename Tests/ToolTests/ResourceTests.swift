// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// With limited memory, threads and open files, a run is right, or ends with one line.
@Suite("C2: little memory, few threads, few open files")
struct ResourceTests {
  let dir: Scratch

  /// A run of a tool, and the files that it creates in `out`.
  struct Run: Sendable, CustomTestStringConvertible {
    var tool: Tool
    var arguments: String
    var files: [String]
    var testDescription: String { "\(tool.rawValue) \(arguments)" }
    var command: String { "\(tool.rawValue) \(arguments)" }

    init(_ tool: Tool, _ arguments: String, _ files: [String] = ["result"]) {
      self.tool = tool
      self.arguments = arguments
      self.files = files
    }
  }

  static let runs = [
    Run(.pack, "--uuid 12345678-1234-1234-1234-123456789abc --ctime 1 -o out/result d=d.img"),
    Run(
      .pack,
      "--uuid 12345678-1234-1234-1234-123456789abc --ctime 1 -zT2 -o out/result d=d.img"),
    Run(.unpack, "-C out a.vma", Sample.wholeFiles),
    Run(.unpack, "-C out - < a.vma.zst", Sample.wholeFiles),
    Run(.unpack, "-T3 -C out - < frames.vma.zst", Sample.wholeFiles),
    Run(.unpack, "--salvage -C out a.vma", Sample.wholeFiles),
    Run(.unpack, "-l large.vma > out/result"), Run(.cat, "a.vma scsi0 > out/result"),
    Run(.cat, "- scsi0 < a.vma.zst > out/result"),
    Run(.toTar, "-o out/result a.vma"), Run(.toTar, "--no-sparse -o out/result - < a.vma"),
  ]

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.write(Sample.scsi, to: "d.img")
    // A bit is kept for each of 2^26 clusters.
    var large = Archive([])
    large.devices = [Archive.Device(id: 1, name: "d", size: 1 << 42)]
    try dir.write(large.bytes(), to: "large.vma")
    try dir.sh("zstd -q a.vma").succeeds()
    try dir.makeFrames(of: "a.vma", in: "frames.vma.zst")
    try dir.makeDirectory("out")
  }

  /// Runs a command that creates files in `out`, which are removed afterwards.
  private func result(
    of run: Run, _ prefix: String
  ) throws -> (outcome: Outcome, files: [String: [UInt8]]) {
    // Without a shell in between, the end by a signal is visible.
    let outcome = try dir.sh("\(prefix) exec \(run.command)")
    var files: [String: [UInt8]] = [:]
    for name in try dir.names(in: "out") {
      files[name] = try dir.read("out/\(name)")
      try FileManager.default.removeItem(atPath: dir("out/\(name)"))
    }
    return (outcome, files)
  }

  /// - Returns: whether the tool got far enough to start.
  private func check(
    _ run: Run, _ prefix: String, _ expected: [String: [UInt8]], statuses: [Int32] = [1],
    mayNotStart: Bool = false, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Bool {
    let (outcome, files) = try result(of: run, prefix)
    if outcome.ending == .exit(0) {
      #expect(files == expected, "\(prefix)", sourceLocation: sourceLocation)
      return true
    }
    // The dynamic loader comes first.
    if outcome.errors.contains("error while loading shared libraries") { return false }
    // Then libswiftCore registers the types of the program, and traps if it cannot.
    if mayNotStart, outcome.ending == .signal(SIGILL), outcome.errors.isEmpty { return false }
    // A library of libnbd fails in its constructor.
    if outcome.errors.contains("Error in GnuTLS initialization") { return false }
    outcome.fails(statuses[0], run.tool, prefix, sourceLocation: sourceLocation)
    // Only files of the shell's redirections exist; a restore's directory may not.
    let names = run.arguments.contains("> out") ? ["result"] : []
    #expect(files.keys.sorted() == names, "\(prefix)", sourceLocation: sourceLocation)
    return true
  }

  @Test(arguments: runs)
  func `C2: any memory limit`(run: Run) throws {
    let expected = try result(of: run, "").files
    #expect(expected.keys.sorted() == run.files)
    // From the limit at which the tool starts (in a debug build, with all Swift libraries) to one
    // that is sufficient.
    var limit = 60_000
    while try !check(run, "ulimit -v \(limit);", expected, mayNotStart: true) { limit += 2_000 }
    // The Swift runtime itself needs some, and traps without it.
    limit += 4_000
    for step in 0..<24 { _ = try check(run, "ulimit -v \(limit + step * 5_501);", expected) }
  }

  @Test(arguments: runs)
  func `C2: each thread and each buffer that cannot be allocated`(run: Run) throws {
    let expected = try result(of: run, "").files
    for (call, error) in [("pthread_create", "EAGAIN"), ("mmap", "ENOMEM")] {
      var number = 1
      while number < 40 {
        let (outcome, files) = try result(of: run, "export VMA_FAULT=\(call):\(number):\(error);")
        if outcome.ending == .exit(0) {
          #expect(files == expected)
          break
        }
        outcome.fails(1, run.tool, "\(call) \(number)")
        number += 1
      }
      #expect(number > 2, "\(call)")
      #expect(number < 40, "\(call)")
    }
  }

  @Test func `C2: memory that is exhausted during a run`() throws {
    for (tool, arguments) in [
      (Tool.unpack, ["-C", "out", "-"]), (.cat, ["-", "scsi0"]), (.toTar, ["-"]),
    ] {
      for megabytes in [1, 50, 100] {
        let running = try dir.start(tool, arguments, input: .open)
        running.send(Sample.wholeBytes.prefix(100_000))
        #expect(running.wait { running.hasTakenAll })
        try dir.sh("prlimit --pid \(running.id) --as=\(megabytes << 20)").succeeds()
        running.send(Sample.wholeBytes.dropFirst(100_000))
        let outcome = running.finish()
        if outcome.ending != .exit(0) { outcome.fails(1, tool, silent: false) }
        try dir.sh("rm -f out/*").succeeds()
      }
    }
  }

  @Test func `C2: more members than the soft limit of open files`() throws {
    let disks = (0..<100).map { Archive.Disk("d\($0)", Image.full(4096, seed: UInt64($0))) }
    try dir.write(Archive(disks).bytes(), to: "many.vma")
    try dir.sh("ulimit -Sn 40; vma-unpack -C out many.vma").succeeds()
    #expect(try dir.names(in: "out").count == 100)
    try dir.sh(
      "ulimit -Sn 40; vma-pack -fo b.vma \(disks.map { "out/disk-\($0.name).raw" }.joined(separator: " "))"
    )
    .succeeds()
    try dir.sh("ulimit -n 60; vma-unpack -C fresh many.vma")
      .fails(73, .unpack, saying: "Too many open files")
    #expect(!dir.exists("fresh"))
    for tool in [Tool.pack] + Tool.readers {
      try dir.sh("ulimit -n 12; \(tool.rawValue) many.vma")
        .fails(1, tool, saying: "open files", "ulimit -n")
    }
  }
}
