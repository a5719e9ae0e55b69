// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// An archive with a random fault, the same for the same seed.
private struct Mutation {
  private(set) var bytes: [UInt8]
  private(set) var description: [String] = []
  private var random: Seeded

  init(_ archive: Archive, seed: UInt64) {
    random = Seeded(seed)
    var archive = archive
    // Half of the faults have correct checksums, and reach the code after the check.
    if Bool.random(using: &random) { Mutation.lie(in: &archive, &random) }
    bytes = archive.bytes()
    for _ in 0..<Int.random(in: 0...2, using: &random) { spoil() }
    if bytes == Sample.smallBytes { spoil() }
  }

  /// Replaces random fields of random parts by critical numbers, with correct checksums.
  private static func lie(in archive: inout Archive, _ random: inout Seeded) {
    let numbers: [UInt64] = [0, 1, 2, 4, 511, 512, 4096, 12288, 65535, 65536, 1 << 31, .max]
    for _ in 0..<Int.random(in: 1...3, using: &random) {
      let number = numbers.randomElement(using: &random) ?? 0
      let bytes = Array(bigEndian(number).suffix([1, 2, 4, 8].randomElement(using: &random) ?? 4))
      if Bool.random(using: &random) {
        let fields = [4, 8, 48, 52, 56, 2044, 3068, 4096, 4128, 4136, 4160, 12289, 12307]
        let place = fields.randomElement(using: &random) ?? 4
        archive.edits.append(Edit(offset: place, bytes: bytes))
      } else {
        let extent = archive.extents.indices.randomElement(using: &random) ?? 0
        let place =
          [0, 4, 6, 8, 40, 42, 43, 44, 48, 51, 52, 500].randomElement(using: &random) ?? 6
        archive.extents[extent].edits.append(Edit(offset: place, bytes: bytes))
      }
    }
  }

  private mutating func spoil() {
    let kind = Int.random(in: 0..<7, using: &random)
    let place = Int.random(in: 0..<bytes.count, using: &random)
    let count = [1, 2, 16, 511, 512, 4096, 5000].randomElement(using: &random) ?? 1
    let range = place..<min(place + count, bytes.count)
    description.append("kind \(kind) at \(place), \(count) bytes")
    switch kind {
    case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 1: bytes.replaceSubrange(range, with: random.bytes(range.count))
    case 2: bytes.removeSubrange(range)
    case 3: bytes.insert(contentsOf: random.bytes(count), at: place)
    case 4: bytes.removeSubrange(place...)
    case 5: bytes.insert(contentsOf: Array(bytes[range]), at: 0)
    default: bytes.append(contentsOf: Array(bytes[range]))
    }
    // Headers are a small part of an archive, and the most sensitive.
    if kind < 2, let header = Sample.small.extentOffsets().randomElement(using: &random),
      header + 64 < bytes.count
    {
      bytes[header + Int.random(in: 0..<64, using: &random)] ^= 0x81
    }
    if bytes.isEmpty { bytes = [0] }
  }
}

@Suite("No random damage crashes a reader, or makes it print more than a line")
struct FuzzTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  private static let runs: [(tool: Tool, arguments: [String])] = [
    (.unpack, ["-C", "out"]), (.unpack, ["-t"]), (.unpack, ["-t", "--quick"]), (.unpack, ["-l"]),
    (.unpack, ["--salvage", "-C", "out"]), (.cat, []), (.toTar, []), (.toTar, ["--no-sparse"]),
    (.cat, ["--length", "70000"]),
  ]

  @Test(arguments: 0..<12)
  func `forty random faults`(group: UInt64) throws {
    for number in 0..<40 {
      let seed = group * 40 + UInt64(number)
      let mutation = Mutation(Sample.small, seed: seed)
      let (tool, arguments) = Self.runs[Int(seed) % Self.runs.count]
      let outcome: Outcome
      if seed / 9 % 2 == 0 {
        try dir.write(mutation.bytes, to: "a.vma")
        outcome = try dir.run(tool, arguments + ["a.vma"])
      } else {
        outcome = try dir.run(tool, arguments + ["-"], input: .pipe(mutation.bytes))
      }
      try judge(outcome, tool, arguments, "seed \(seed): \(mutation.description)")
    }
  }

  private func judge(
    _ outcome: Outcome, _ tool: Tool, _ arguments: [String], _ comment: String
  ) throws {
    // A fault may rename or remove the only drive: then there may be none (66), or several (64).
    let allowed: [Int32] = tool == .cat ? [0, 64, 65, 66] : [0, 65]
    #expect(allowed.map(Ending.exit).contains(outcome.ending), "\(comment) \(outcome.errors)")
    if outcome.ending == .exit(0) {
      // A complete range in an incomplete archive gets a warning.
      let lines = outcome.errors.split(separator: "\n")
      let isExpected = lines.allSatisfy { $0.hasSuffix("; the requested range is complete") }
      #expect(isExpected && lines.count < 2, "\(comment) \(outcome.errors)")
    } else if arguments.first == "--salvage" {
      #expect(outcome.errorLines.dropLast().allSatisfy { $0.hasPrefix("vma-unpack: ") })
    } else {
      #expect(outcome.complaint(about: tool) == nil, "\(comment) \(outcome.errors)")
    }
    if dir.exists("out") {
      if outcome.ending != .exit(0) && arguments.first != "--salvage" {
        try dir.expectNames([], in: "out")
      }
      try FileManager.default.removeItem(atPath: dir("out"))
    }
    let others = try dir.names().filter { $0 != "a.vma" }
    #expect(others == [], "\(comment)")
  }
}
