// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
public import Testing

/// A requirement of a test that some machines do not meet. A string is the name of a program; those
/// of QEMU are from the current one.
///
/// If it is not met, the test is skipped, and listed at the end of the run. With REQUIRE_ALL=1 it
/// fails instead, unless the kernel or a package mirror is the cause.
public struct Requirement: Sendable, ExpressibleByStringLiteral {
  /// Why a requirement is not met.
  public enum Lack: String, Sendable {
    case program = "not installed"
    case kernel = "not possible on this machine"
    case mirror = "could not be downloaded"
  }

  public let name: String
  private let findLack: @Sendable () -> Lack?

  /// - Parameter lack: is called once in a run.
  public init(_ name: String, _ lack: @escaping @Sendable () -> Lack?) {
    self.name = name
    findLack = lack
  }

  public init(stringLiteral program: String) {
    self.init(program) {
      let qemu: QEMU = program.hasPrefix("qemu-") ? .current : .installed
      return qemu == .installed
        ? Command.exists(program) ? nil : .program : Requirement.qemu(qemu).findLack()
    }
  }

  /// A requirement that a script checks.
  public init(_ name: String, _ programs: String..., orLacks lack: Lack, script: String) {
    self.init(name) {
      if !programs.allSatisfy(Command.exists) { return .program }
      return Command.run(script).succeeds ? nil : lack
    }
  }

  private static let lacks = Mutex<[String: Lack?]>([:])

  public var lack: Lack? {
    Self.lacks.withLock { lacks in
      if let known = lacks[name] { return known }
      let found = findLack()
      lacks[name] = .some(found)
      return found
    }
  }
}

extension Requirement {
  /// Debian's own Python with the package python3-libnbd.
  public static let pythonNBD = Requirement(
    "python3-libnbd", orLacks: .program, script: "/usr/bin/python3 -c 'import nbd'")
  public static let nbdkitPython = Requirement(
    "nbdkit-plugin-python", "nbdkit", orLacks: .program, script: "nbdkit --dump-plugin python")
  /// The ssh server is not in the PATH of normal users.
  public static let sshServer = Requirement(
    "sshd", "ssh", orLacks: .program, script: "test -x /usr/sbin/sshd")
  /// Sandboxes may forbid these.
  public static let tracing = Requirement(
    "strace", "strace", orLacks: .kernel, script: "strace -o /dev/null true")
  public static let mounts = Requirement(
    "mounts in a namespace", "unshare", "mount", orLacks: .kernel,
    script: "unshare --map-root-user --mount mount -t tmpfs -o size=1M none /mnt")
  /// It starts a virtual machine with a kernel of the host.
  public static let guestfish = Requirement(
    "guestfish", orLacks: .kernel, script: "guestfish --version")
  public static let root = Requirement("root", orLacks: .kernel, script: "[ \"$(id -u)\" = 0 ]")
  public static let loopDevices = Requirement(
    "loop devices", "losetup", orLacks: .kernel,
    script: """
      PATH=$PATH:/usr/sbin:/sbin; image=$(mktemp) && truncate -s 64K "$image" &&
        device=$(losetup --find --show "$image") && test -b "$device" &&
        losetup --detach "$device"; code=$?; rm -f "$image"; exit $code
      """)
  /// The guest of scripts/make-guest, which is created here if it does not exist yet.
  public static let linuxGuest = Requirement("the Linux guest of scripts/make-guest") {
    let script = "'\(TestCache.root)/scripts/make-guest' '\(TestCache.linuxGuest)'; echo $?"
    return switch Command.run(script).output.split(separator: "\n").last {
    case "0": nil
    case "66": .mirror
    default: .program
    }
  }

  public static func qemu(_ qemu: QEMU) -> Requirement {
    Requirement("QEMU of \(qemu.rawValue)") {
      if qemu.version != nil { return nil }
      return qemu.reasonUnavailable == nil ? .program : .mirror
    }
  }
}

/// Skips a test or a suite if a requirement is not met.
public struct Requirements: TestTrait, SuiteTrait {
  let needs: [Requirement]

  public init(_ needs: [Requirement]) { self.needs = needs }

  public func prepare(for test: Test) async throws {
    Skips.watch()
    let lacking = needs.compactMap { need in need.lack.map { (name: need.name, lack: $0) } }
    guard !lacking.isEmpty else { return }
    let reason = lacking.map { "\($0.name): \($0.lack.rawValue)" }.joined(separator: ", ")
    if Skips.areFailures, lacking.contains(where: { $0.lack == .program }) {
      throw Missing(description: reason)
    }
    Skips.add("\(test.displayName ?? test.name) (\(reason))")
    try await ConditionTrait.disabled("\(reason)").prepare(for: test)
  }

  private struct Missing: Error, CustomStringConvertible { let description: String }
}

/// The tests that were skipped, which are printed when the run ends.
private enum Skips {
  static let areFailures = ProcessInfo.processInfo.environment["REQUIRE_ALL"] == "1"
  private static let skipped = Mutex<[String]>([])

  static func add(_ text: String) { skipped.withLock { $0.append(text) } }

  static func watch() { _ = isWatched }

  private static let isWatched: Bool = {
    atexit {
      let skipped = Skips.skipped.withLock { $0.sorted() }
      let lines =
        skipped.isEmpty
        ? ["No test was skipped."]
        : ["Skipped: \(skipped.count) tests or suites"] + skipped.map { "  \($0)" }
      FileHandle.standardError.write(Data((lines.joined(separator: "\n") + "\n").utf8))
    }
    return true
  }()
}
