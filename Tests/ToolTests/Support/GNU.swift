// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// Skips a test or a suite if a requirement is not met.
func requires(_ needs: Requirement...) -> Requirements { Requirements(needs) }

/// A file as a block device, until it is released.
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
