// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import TestSupport
import Testing

/// Skips a test or a suite if a requirement is not met.
func requires(_ needs: Requirement...) -> Requirements { Requirements(needs) }

/// The programs of these tests, and their requirements.
enum Programs {
  static let directory = TestCache.root + "/Tests/TapTests/Programs"
  static let benchmarks = TestCache.root + "/Benchmarks"

  /// The folder of the tools, which also contains the test binary.
  static let tools: String = {
    let link = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    return URL(fileURLWithPath: link ?? CommandLine.arguments[0]).deletingLastPathComponent().path
  }()

  /// Debian's own Python, which finds the package python3-libnbd.
  static let python = "/usr/bin/python3"

  private static func has(_ script: String) -> Bool {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "(\(script)) >/dev/null 2>&1"]
    guard (try? process.run()) != nil else { return false }
    process.waitUntilExit()
    return process.terminationStatus == 0
  }

  static let hasDaemon = has("command -v qemu-storage-daemon")
  static let hasSystem = has("command -v qemu-system-x86_64")
  /// The guest of scripts/make-guest, which is created here if it does not exist yet.
  static let linux = TestCache.linuxGuest
  static let hasLinux =
    hasSystem && has("command -v qemu-img")
    && has("'\(TestCache.root)/scripts/make-guest' '\(linux)'")
  static let hasGuest = hasDaemon && has("\(python) -c 'import nbd'")
  static let canTrace = has("command -v nbdkit && strace -o /dev/null true")
  static let canMount = has(
    "unshare --map-root-user --mount mount -t tmpfs -o size=1M none /mnt")
  static let hasSSH = has("command -v ssh && command -v zstd && test -x /usr/sbin/sshd")
}

/// A process of a test, its output in memory.
final class Child {
  let process = Process()
  private let output = Pipe()
  private let input = Pipe()
  private let errors: String

  init(
    _ arguments: [String], in directory: String, temporary: String, qemu: QEMU = .current
  ) throws {
    errors = directory + "/stderr-\(UInt32.random(in: 0 ... .max))"
    _ = FileManager.default.createFile(atPath: errors, contents: nil)
    process.executableURL = URL(fileURLWithPath: Programs.python)
    process.arguments = [Programs.directory + "/start.py"] + arguments
    process.currentDirectoryURL = URL(fileURLWithPath: directory)
    var environment = ProcessInfo.processInfo.environment
    let path = environment["PATH"] ?? "/usr/bin:/bin"
    environment["PATH"] = Programs.tools + ":" + qemu.path(before: path)
    environment["TMPDIR"] = temporary
    environment["P"] = Programs.directory
    process.environment = environment
    process.standardInput = input
    process.standardOutput = output
    process.standardError = FileHandle(forWritingAtPath: errors)
    try process.run()
  }

  func closeInput() { try? input.fileHandleForWriting.close() }

  /// Waits for its next bytes of output.
  func readSome() -> Data { output.fileHandleForReading.availableData }

  /// Waits until it exits, and terminates it if that takes too long.
  func finish(atMost seconds: Int = 60) -> (status: Int32, output: String, errors: String) {
    let process = process
    let watch = DispatchWorkItem { kill(process.processIdentifier, SIGKILL) }
    DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(seconds), execute: watch)
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    watch.cancel()
    let text = (try? String(contentsOfFile: errors, encoding: .utf8)) ?? ""
    return (process.terminationStatus, String(decoding: data, as: UTF8.self), text)
  }
}
