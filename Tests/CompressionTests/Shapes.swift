// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport

/// Runs a program with input and output in files; nil if it fails or is missing.
func run(_ command: String, _ bytes: [UInt8]) throws -> [UInt8]? {
  let directory = FileManager.default.temporaryDirectory
  let name = "vma-tools-\(UUID().uuidString)"
  let (source, target) = (
    directory.appendingPathComponent(name), directory.appendingPathComponent(name + ".out")
  )
  defer {
    try? FileManager.default.removeItem(at: source)
    try? FileManager.default.removeItem(at: target)
  }
  try Data(bytes).write(to: source)
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/bin/sh")
  process.arguments = ["-c", "\(command) < \(source.path) > \(target.path) 2>/dev/null"]
  try process.run()
  process.waitUntilExit()
  guard process.terminationStatus == 0 else { return nil }
  return Array(try Data(contentsOf: target))
}

/// Data of many kinds, because the result of compressors depends on it.
enum Shape: CaseIterable {
  case empty, one, zeros, noise, text, longMatches, shortMatches, farMatches, mixed, table,
    blockSize

  var bytes: [UInt8] {
    var random = SeededGenerator(seed: 7)
    func noise(_ count: Int) -> [UInt8] {
      (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    }
    switch self {
    case .empty: return []
    case .one: return [42]
    case .zeros: return [UInt8](repeating: 0, count: 700_000)
    case .noise: return noise(300_001)
    case .text:
      let words = (0..<200).map { _ in noise(Int.random(in: 2...9, using: &random)) }
      return (0..<60_000).flatMap { _ in words[Int.random(in: 0..<200, using: &random)] + [32] }
    case .longMatches:
      let block = noise(5000)
      return (0..<80).flatMap { index in block + [UInt8(index)] }
    case .shortMatches:
      // Periods of 1 to 12 bytes, so that matches overlap themselves in every way.
      return (1...12).flatMap { period -> [UInt8] in
        let pattern = noise(period)
        return (0..<2000).map { pattern[$0 % period] } + noise(17)
      }
    case .farMatches:
      // Matches at 2 KiB, 16 KiB and 48 KiB, where the encoding changes.
      let base = noise(49_200)
      var data = base
      for distance in [1, 2047, 2048, 2049, 3071, 3073, 16_383, 16_384, 16_385, 49_151, 49_152] {
        for length in [2, 3, 4, 8, 9, 33, 34, 300] {
          for index in 0..<length { data.append(data[data.count - distance + index % distance]) }
          data += noise(length % 5)
        }
      }
      return data
    case .mixed:
      return (0..<40).flatMap { index -> [UInt8] in
        switch index % 4 {
        case 0: return noise(9000)
        case 1: return [UInt8](repeating: UInt8(index), count: 9000)
        case 2: return (0..<9000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        default: return noise(40) + [UInt8](repeating: 0, count: 4000)
        }
      }
    case .table:
      return (0..<40_000).flatMap { index -> [UInt8] in
        [0, UInt8(index & 0xff), UInt8(index >> 8), 7, 7, UInt8(index % 3)]
      }
    case .blockSize: return noise(262_144) + [UInt8](repeating: 1, count: 262_144)
    }
  }
}
