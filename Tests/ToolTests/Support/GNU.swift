// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Programs that these tests hold the tools against, and abilities that not every machine has.
enum Machine {
  static func has(_ program: String) -> Bool {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    let folders = (path + ":/usr/sbin:/sbin").split(separator: ":").map(String.init)
    return folders.contains { access($0 + "/" + program, X_OK) == 0 }
  }

  /// Whether a file can be made a block device here: sandboxes and plain users cannot.
  static let hasLoopDevices: Bool = {
    guard let dir = try? Scratch() else { return false }
    let script = """
      truncate -s 64K image
      device=$(losetup --find --show image) && test -b "$device" && losetup --detach "$device"
      """
    return (try? dir.sh(script))?.ending == .exit(0)
  }()
}

/// Counts the test as skipped, by name, where the program is missing.
func requires(_ programs: String...) -> ConditionTrait {
  let missing = programs.filter { !Machine.has($0) }
  return .enabled(if: missing.isEmpty, "not installed: \(missing.joined(separator: ", "))")
}

/// Counts the test as skipped where no loop device can be had.
func requiresLoopDevices() -> ConditionTrait {
  .enabled(if: Machine.hasLoopDevices, "no loop devices on this machine")
}

/// A file as a block device, until it is let go.
final class LoopDevice {
  let path: String
  private let dir: Scratch

  init(_ file: String, in dir: Scratch) throws {
    self.dir = dir
    let outcome = try dir.sh("losetup --find --show \(file)")
    path = try #require(outcome.lines.first, "losetup: \(outcome.errors)")
  }

  deinit { _ = try? dir.sh("losetup --detach \(path)") }
}
