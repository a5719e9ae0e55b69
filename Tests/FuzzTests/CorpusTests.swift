// SPDX-License-Identifier: Apache-2.0

import Foundation
import FuzzTargets
import Testing

@Suite("Inputs found by fuzzing satisfy all properties", .serialized)
struct CorpusTests {
  private static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fuzz/Corpus")

  @Test("the corpus of a target", arguments: Target.all.map(\.name))
  func replay(name: String) throws {
    let target = try #require(Target.named(name))
    let directory = Self.directory.appendingPathComponent(name)
    let files = try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted()
    #expect(!files.isEmpty)
    for file in files {
      let input = try Data(contentsOf: directory.appendingPathComponent(file))
      #expect(throws: Never.self, "\(name)/\(file)") { try target.run(Array(input)) }
    }
    // Short and simple inputs, and random ones.
    try target.run([])
    var random = SystemRandomNumberGenerator()
    for count in 0..<40 {
      let input = (0..<count * 8).map { _ in UInt8.random(in: .min ... .max, using: &random) }
      #expect(throws: Never.self, "\(name): \(input)") { try target.run(input) }
    }
  }
}
