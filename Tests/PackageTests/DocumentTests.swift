// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Names in the documents for contributors exist")
struct DocumentTests {
  static let documents = ["CONTRIBUTING.md", "SECURITY.md", "README.md"]

  /// Targets of the Makefile.
  private func targets() throws -> Set<String> {
    Set(
      try Repository.text("Makefile").split(separator: "\n").compactMap { line in
        line.first?.isLowercase == true && line.contains(":")
          ? String(line.prefix { $0 != ":" }) : nil
      })
  }

  /// The names that follow a word.
  private func names(after word: String, in text: String) -> [String] {
    text.components(separatedBy: word).dropFirst().map {
      String($0.prefix { $0.isLowercase || $0 == "-" })
    }.filter { !$0.isEmpty }
  }

  @Test("make targets in code exist", arguments: documents)
  func makeTargets(document: String) throws {
    let code = try Repository.text(document).split(separator: "\n").flatMap { line in
      line.hasPrefix("    ")
        ? [String(line)]
        : line.split(separator: "`", omittingEmptySubsequences: false).enumerated()
          .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }
    let targets = try targets()
    let missing = code.flatMap { names(after: "make ", in: $0) }.filter { !targets.contains($0) }
    #expect(missing == [])
  }

  @Test func `make help lists every target for users`() throws {
    let makefile = try Repository.text("Makefile")
    let help = makefile.split(separator: "\n").filter { $0.hasPrefix("\t@echo") }.joined()
    let internalTargets: Set = ["all", "help", "build"]
    let missing = try targets().subtracting(internalTargets).filter { !help.contains("make \($0)") }
    #expect(missing == [])
  }

  @Test("folders and files in code exist", arguments: ["CONTRIBUTING.md"])
  func paths(document: String) throws {
    let words = try Repository.text(document).split(
      separator: "`", omittingEmptySubsequences: false
    )
    .enumerated().filter { $0.offset % 2 == 1 }.map { String($0.element.prefix { $0 != " " }) }
    let top = try FileManager.default.contentsOfDirectory(atPath: Repository.path)
    let paths = words.filter { word in top.contains { word == $0 || word.hasPrefix($0 + "/") } }
    #expect(paths.count >= 10)
    for path in paths {
      #expect(FileManager.default.fileExists(atPath: Repository.path + "/" + path), "\(path)")
    }
  }
}
