// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// System calls that fail on demand, in debug builds of the tools.
///
/// A rule is `CALL:WHICH:EFFECT`: the name of a system call; `3` (the third), `3+` (the third and
/// later) or `*` (all); and an errno's name, `short`, `short=N` or `delay=MS`. Several rules are
/// separated by commas. Pass them as the environment variable `VMA_FAULT`, or call `run(…, fault:)`:
///
///     try dir.run(.unpack, ["-C", "out", "a.vma"], fault: "pwrite:3:ENOSPC").fails(74, .unpack)
///     try dir.sh("VMA_FAULT=linkat:*:EPERM,renameat2:*:EINVAL vma-unpack -C out a.vma")
///
/// Sources/System/FaultInjection.swift has the details, SystemCall.swift the names.
extension Scratch {
  func run(
    _ tool: Tool, _ arguments: [String], input: Input = .nothing, output: Output = .pipe,
    fault: String
  ) throws -> Outcome {
    try run(
      tool, arguments, input: input, output: output, environment: ["VMA_FAULT": fault])
  }

  /// The number of times that a run makes each system call.
  func countCalls(
    _ tool: Tool, _ arguments: [String], input: Input = .nothing, output: Output = .pipe
  ) throws -> [String: Int] {
    let log = temporary + ".calls"
    defer { try? FileManager.default.removeItem(atPath: log) }
    _ = try run(
      tool, arguments, input: input, output: output, environment: ["VMA_FAULT_LOG": log])
    let names = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
    return Dictionary(names.map { (String($0), 1) }, uniquingKeysWith: +)
  }
}
