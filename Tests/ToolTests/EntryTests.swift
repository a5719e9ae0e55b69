// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// Properties of the tests themselves.
@Suite struct EntryTests {
  /// The entries of the issue «Nothing lost».
  private static let entries =
    (1...16).map { "A\($0)" } + (1...9).map { "B\($0)" } + (1...6).map { "C\($0)" } + ["D"]

  private static let sources: [(name: String, text: String)] = {
    let folder = TestCache.root + "/Tests"
    let names = FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? []
    return names.filter { $0.hasSuffix(".swift") }.sorted().map { name in
      (name, (try? String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8)) ?? "")
    }
  }()

  /// The display names of tests and suites that begin with entries: "A1–A3: …", "A6, D: …".
  private static func entries(of source: String) throws -> [(entry: String, name: String)] {
    let name = try Regex(#"(?:@Test\(\s*"|@Suite\(\s*"|func `)((?:[A-D]\d*(?:, |–)?)+): ([^"`]*)"#)
    var found: [(entry: String, name: String)] = []
    for match in source.matches(of: name) {
      for part in String(match[1].substring ?? "").components(separatedBy: ", ") {
        let ends = part.components(separatedBy: "–")
        let text = String(match[2].substring ?? "")
        guard ends.count == 2, let first = Int(ends[0].dropFirst()),
          let last = Int(ends[1].dropFirst()),
          first <= last
        else {
          found.append((part, text))
          continue
        }
        found += (first...last).map { ("\(part.prefix(1))\($0)", text) }
      }
    }
    return found
  }

  @Test func `D: each entry of the issue has a test with its number`() throws {
    var names: [String: [String]] = [:]
    for source in Self.sources {
      for (entry, name) in try Self.entries(of: source.text) {
        names[entry, default: []].append(name)
      }
    }
    // Prints a table for the issue's closing note on request.
    if ProcessInfo.processInfo.environment["LIST_ENTRIES"] != nil {
      for entry in Self.entries { print(entry, names[entry]?.joined(separator: " | ") ?? "-") }
    }
    let missing = Self.entries.filter { names[$0] == nil }
    #expect(missing == [])
  }

  /// A condition of its own would also skip a test with REQUIRE_ALL=1.
  @Test func `D: only requires(…) skips a test`() {
    #expect(Self.sources.count > 50)
    for word in [".enabled(" + "if:", ".disabled(" + "if:", "Test.cancel" + "("] {
      let users = Self.sources.filter { $0.text.contains(word) }.map(\.name)
      #expect(users == [], "\(word)")
    }
  }
}
