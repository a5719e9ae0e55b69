// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Each system call of a run fails once, in each relevant way. A run is right, or it ends with one
/// line and a documented status, and changes nothing.
@Suite("D: every system call fails once")
struct FaultSweepTests {
  let dir: Scratch

  struct Run: Sendable, CustomTestStringConvertible {
    var tool: Tool
    var arguments: String
    /// Commands before the run.
    var preparation = ""
    /// Whether its result is written in place: then a failed run may leave a part of it.
    var isInPlace = false
    var testDescription: String { "\(tool.rawValue) \(arguments)" }
  }

  static let fixed = "--uuid 12345678-1234-1234-1234-123456789abc --ctime 1"
  static let runs = [
    Run(tool: .pack, arguments: "\(fixed) -o out/result d=d.img"),
    Run(
      tool: .pack, arguments: "\(fixed) -zfo out/result d=d.img",
      preparation: "echo old > out/result"),
    Run(tool: .pack, arguments: "\(fixed) --size d=1M d=- < d.img > out/result", isInPlace: true),
    Run(tool: .unpack, arguments: "-C out a.vma"),
    Run(tool: .unpack, arguments: "-C out - < a.vma.zst"),
    Run(
      tool: .unpack, arguments: "-f -C out a.vma",
      preparation:
        "for f in qemu-server.conf disk-drive-scsi0.raw vmstate.bin; do echo old > out/$f; done"),
    Run(
      tool: .unpack, arguments: "--no-configs -d scsi0 -m scsi0=out/target a.vma",
      preparation: "head -c 1M /dev/urandom > out/target", isInPlace: true),
    Run(tool: .unpack, arguments: "-t a.vma > out/result", isInPlace: true),
    Run(tool: .cat, arguments: "a.vma scsi0 > out/result", isInPlace: true),
    Run(tool: .cat, arguments: "- scsi0 < b.vma > out/result", isInPlace: true),
    Run(tool: .toTar, arguments: "-o out/result a.vma"),
    Run(tool: .toTar, arguments: "-fo out/result - < b.vma", preparation: "echo old > out/result"),
  ]

  /// Calls that ResourceTests covers, that print messages, or that fail only because of a signal.
  private static let others = ["mmap", "pthread_create", "say", "poll"]

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
    // Clusters arrive before they are needed.
    let disk = Archive.Disk("drive-scsi0", Sample.scsi)
    try dir.write(Archive([disk], order: .shuffled(seed: 3)).bytes(), to: "b.vma")
    try dir.write(Sample.scsi, to: "d.img")
    try dir.sh("zstd -q a.vma").succeeds()
  }

  private func files() throws -> [String: [UInt8]] {
    guard dir.exists("out") else { return [:] }
    return try Dictionary(
      uniqueKeysWithValues: dir.names(in: "out").map { ($0, try dir.read("out/\($0)")) })
  }

  /// Runs with rules.
  ///
  /// - Returns: the outcome, and the content of `out` before and after.
  private func run(_ run: Run, _ variables: String) throws
    -> (outcome: Outcome, before: [String: [UInt8]], after: [String: [UInt8]])
  {
    try dir.sh("rm -rf out; mkdir out; \(run.preparation)").succeeds()
    let before = try files()
    let outcome = try dir.sh("\(variables) \(run.tool.rawValue) \(run.arguments)")
    return (outcome, before, try files())
  }

  /// A sample of the calls: those where something begins, changes or ends.
  private func samples(_ count: Int) -> [Int] {
    count <= 4 ? Array(1...count) : [1, 2, count / 2, count]
  }

  @Test(arguments: runs)
  func `D: any system call`(run: Run) throws {
    let log = dir.temporary + ".calls"
    defer { try? FileManager.default.removeItem(atPath: log) }
    let expected = try self.run(run, "VMA_FAULT_LOG=\(log)")
    expected.outcome.succeeds()
    let names = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
    let calls = Dictionary(names.map { (String($0), 1) }, uniquingKeysWith: +)
      .filter { !Self.others.contains($0.key) }
    #expect(calls.count > 4)

    for error in ["EINTR", "EAGAIN", "short=100"] {
      let moves = ["read", "pread", "write", "pwrite", "writev"]
      let rules = calls.filter { error == "EINTR" || moves.contains($0.key) }
        .flatMap { call in samples(call.value).map { "\(call.key):\($0):\(error)" } }
      let (outcome, _, after) = try self.run(run, "VMA_FAULT=\(rules.joined(separator: ","))")
      outcome.succeeds(error)
      let isComplete = after == expected.after
      #expect(isComplete, "\(error)")
    }
    for (call, count) in calls.sorted(by: { $0.key < $1.key }) {
      for number in samples(count) {
        let rule = "\(call):\(number):EIO"
        let (outcome, before, after) = try self.run(run, "VMA_FAULT=\(rule)")
        // A file that cannot be removed stays, and is reported.
        if call == "unlinkat", outcome.ending == .exit(0) {
          let left = Set(after.keys).subtracting(expected.after.keys)
          let reported = left.filter { outcome.errors.contains("out/\($0): cannot be removed: ") }
          #expect(reported == left && left.count <= 1, "\(rule): \(outcome.errors)")
          #expect(after.filter { !left.contains($0.key) } == expected.after, "\(rule)")
          continue
        }
        guard outcome.ending != .exit(0) else {
          outcome.succeeds(rule)
          let isComplete = after == expected.after
          #expect(isComplete, "\(rule)")
          continue
        }
        let status: Int32 =
          if case .exit(let code) = outcome.ending, [66, 73].contains(code) { code } else { 74 }
        outcome.fails(status, run.tool, rule)
        if run.isInPlace { continue }
        // If the fsync of the directory fails, a single file stays in place of the old one.
        if outcome.errors.contains("the new file is complete and in place") {
          let isComplete = call == "fsync" && after == expected.after
          #expect(isComplete, "\(rule)")
          continue
        }
        let isUnchanged = after == before
        #expect(isUnchanged, "\(rule)")
      }
    }
  }
}
