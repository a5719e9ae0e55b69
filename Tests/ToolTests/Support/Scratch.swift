// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// A directory of its own for one test, where the tools run. It is removed afterwards.
final class Scratch: Sendable {
  /// The working directory of processes.
  let path: String
  /// Their `TMPDIR`: no run may leave anything here.
  let temporary: String
  private let root: String

  init() throws {
    let base = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
    var template = Array("\(base)/vma-tools-test.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemFailure("mkdtemp") }
    root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    path = root + "/here"
    temporary = root + "/tmp"
    mkdir(path, 0o755)
    mkdir(temporary, 0o755)
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  // MARK: Processes

  /// A small environment that is the same everywhere: the C locale, no epoch, times in UTC.
  private func environment(_ extra: [String: String]) -> [String: String] {
    let inherited = ProcessInfo.processInfo.environment
    let searched = QEMU.current.path(before: inherited["PATH"] ?? "/usr/local/bin:/usr/bin:/bin")
    var result = [
      "PATH": "\(Tool.directory):\(searched):/usr/sbin:/sbin", "HOME": root, "TZ": "UTC0",
      "TMPDIR": temporary,
    ]
    if let libraries = inherited["LD_LIBRARY_PATH"] { result["LD_LIBRARY_PATH"] = libraries }
    return result.merging(extra) { $1 }
  }

  func start(
    _ tool: Tool, _ arguments: [String], input: Input = .nothing, output: Output = .pipe,
    errorsOnTerminal: Bool = false, environment extra: [String: String] = [:]
  ) throws -> Running {
    try Running(
      tool.path, arguments, in: path, environment: environment(extra), input: input,
      output: output, errorsOnTerminal: errorsOnTerminal)
  }

  func run(
    _ tool: Tool, _ arguments: String..., input: Input = .nothing, output: Output = .pipe,
    environment extra: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try run(
      tool, arguments, input: input, output: output, environment: extra,
      sourceLocation: sourceLocation)
  }

  func run(
    _ tool: Tool, _ arguments: [String], input: Input = .nothing, output: Output = .pipe,
    environment extra: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let running = try start(
      tool, arguments, input: input, output: output, environment: extra)
    let outcome = running.finish()
    expectNoTemporaryFiles(after: outcome, sourceLocation)
    return outcome
  }

  /// Runs a bash script with the tools first in `PATH`; a failing part of a pipe fails it.
  func sh(
    _ script: String, input: Input = .nothing, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let running = try Running(
      "bash", ["-c", "set -o pipefail\n" + script], in: path, environment: environment([:]),
      input: input)
    let outcome = running.finish()
    expectNoTemporaryFiles(after: outcome, sourceLocation)
    return outcome
  }

  /// cli.md: "No run leaves temporary files."
  func expectNoTemporaryFiles(after outcome: Outcome, _ sourceLocation: SourceLocation) {
    let left = (try? FileManager.default.contentsOfDirectory(atPath: temporary)) ?? []
    if !left.isEmpty {
      Issue.record("\(outcome.command) left \(left) behind", sourceLocation: sourceLocation)
    }
  }

  // MARK: Files

  /// The absolute path of a name in this directory.
  func callAsFunction(_ name: String) -> String { path + "/" + name }

  @discardableResult
  func write(_ bytes: some Collection<UInt8>, to name: String) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: self(name)))
    return self(name)
  }

  @discardableResult
  func write(_ text: String, to name: String) throws -> String {
    try write(Array(text.utf8), to: name)
  }

  func read(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: self(name))))
  }

  /// Truncates or extends a file, which need not exist, without writing any data.
  func resize(_ name: String, to size: Int) throws {
    let descriptor = open(self(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)
    defer { close(descriptor) }
    guard ftruncate(descriptor, off_t(size)) == 0 else { throw SystemFailure("ftruncate") }
  }

  /// Writes into a file at an offset, and keeps all other bytes.
  func put(_ bytes: [UInt8], into name: String, at offset: Int) throws {
    let descriptor = open(self(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)
    defer { close(descriptor) }
    guard pwrite(descriptor, bytes, bytes.count, off_t(offset)) == bytes.count else {
      throw SystemFailure("pwrite")
    }
  }

  @discardableResult
  func makeDirectory(_ name: String) throws -> String {
    guard mkdir(self(name), 0o755) == 0 else { throw SystemFailure("mkdir \(name)") }
    return self(name)
  }

  func makeFIFO(_ name: String) throws {
    guard mkfifo(self(name), 0o644) == 0 else { throw SystemFailure("mkfifo \(name)") }
  }

  func link(_ name: String, to target: String) throws {
    guard symlink(target, self(name)) == 0 else { throw SystemFailure("symlink \(name)") }
  }

  /// Every name in a directory, including hidden ones, sorted.
  func names(in directory: String = ".") throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: self(directory)).sorted()
  }

  /// The result of `lstat`; nil if the file does not exist.
  func status(of name: String) -> stat? {
    var result = stat()
    return lstat(self(name), &result) == 0 ? result : nil
  }

  func exists(_ name: String) -> Bool { status(of: name) != nil }

  /// The number of bytes that a file needs on disk.
  func allocated(_ name: String) throws -> Int {
    Int(try #require(status(of: name)).st_blocks) * 512
  }
}
