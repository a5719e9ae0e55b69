// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite(
  "The tools and a model of the formats agree on damaged input",
  requires("python3", "zstd", "gzip", "xz", "bzip2", "lz4", "lzop"))
struct MutationTests {
  private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fuzz/tools.py").path

  @Test("archives and event streams with damage that follows the formats")
  func tools() throws {
    let dir = try Scratch()
    let seconds = 5 * Soak.factor
    let seed = UInt32.random(in: 0..<1_000_000_000)
    let outcome = try dir.sh("python3 \(Self.script) \(Tool.directory) \(seconds) \(seed)")
    #expect(outcome.ending == .exit(0), "\(outcome.errors)")
  }
}
