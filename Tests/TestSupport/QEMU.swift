// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A QEMU that live tests run with: the installed one, or that of a newer Debian release, which
/// scripts/get-qemu unpacks.
public enum QEMU: String, CaseIterable, Sendable, CustomStringConvertible {
  case installed
  /// 10.0
  case trixie
  /// The newest one in Debian.
  case sid

  /// The QEMU of live tests that do not choose one: the environment variable QEMU names it, so that
  /// an entire suite can be repeated with each.
  public static let current =
    ProcessInfo.processInfo.environment["QEMU"].map { name in
      guard let qemu = QEMU(rawValue: name) else { fatalError("QEMU=\(name): no such release") }
      return qemu
    } ?? .installed

  /// The folder with its programs, under their usual names; nil if they are in PATH.
  public var programs: String? {
    self == .installed ? nil : "\(Self.folder)/\(rawValue)/bin"
  }

  /// `path` with its programs first.
  public func path(before path: String) -> String {
    programs.map { "\($0):\(path)" } ?? path
  }

  /// Its version, or nil if it cannot be used.
  public var version: String? { Self.versions[self] }

  /// Why its packages could not be downloaded.
  public var reasonUnavailable: String? {
    try? String(contentsOfFile: "\(Self.folder)/\(rawValue).unavailable", encoding: .utf8)
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  public var description: String { "QEMU \(version ?? "of \(rawValue)")" }

  private static let folder = TestCache.path + "/qemu"

  private static let versions: [QEMU: String] = {
    _ = Command.run("'\(TestCache.root)/scripts/get-qemu' '\(folder)'")
    var versions: [QEMU: String] = [:]
    for qemu in allCases {
      let program = (qemu.programs.map { "'\($0)'/" } ?? "") + "qemu-img"
      let words = Command.run("\(program) --version").output.split(separator: " ")
      // "qemu-img version 7.2.22 (Debian …"
      if words.count > 2, words[1] == "version" {
        versions[qemu] = words[2].trimmingCharacters(in: .whitespacesAndNewlines)
      }
    }
    return versions
  }()
}

/// Files that tests download and create once. The environment variable TEST_CACHE names a folder
/// that several checkouts share.
public enum TestCache {
  /// The folder of this checkout.
  public static let root =
    (0..<3).reduce(URL(fileURLWithPath: #filePath)) { url, _ in url.deletingLastPathComponent() }
    .path

  public static let path = ProcessInfo.processInfo.environment["TEST_CACHE"] ?? root + "/.build"

  public static let linuxGuest = path + "/guest"
}

/// A short sh script that checks a property of the machine.
public enum Command {
  /// Programs for administrators count, too.
  public static func exists(_ program: String) -> Bool {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    return (path + ":/usr/sbin:/sbin").split(separator: ":").contains {
      FileManager.default.isExecutableFile(atPath: "\($0)/\(program)")
    }
  }

  public static func run(_ script: String) -> (succeeds: Bool, output: String) {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", script]
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return (false, "") }
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus == 0, String(decoding: data, as: UTF8.self))
  }
}
