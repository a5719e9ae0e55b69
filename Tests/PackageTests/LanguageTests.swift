// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Everything that people read is plain English")
struct LanguageTests {
  /// Files below a directory of the repository, in order.
  private static func files(in folder: String, where isIncluded: (String) -> Bool = { _ in true })
    -> [String]
  {
    let names =
      (try? FileManager.default.subpathsOfDirectory(atPath: Repository.path + "/" + folder))
    return (names ?? []).map { folder + "/" + $0 }.filter { path in
      var isDirectory: ObjCBool = false
      return isIncluded(path)
        && FileManager.default.fileExists(
          atPath: Repository.path + "/" + path, isDirectory: &isDirectory)
        && !isDirectory.boolValue
    }.sorted()
  }

  /// Documents, and scripts with their comments and output. The text of a license is not ours.
  static let documents =
    [
      "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", ".ci/run",
    ]
    + ["man", "examples", "scripts", "packaging", "Benchmarks"].flatMap { files(in: $0) }
    .filter { $0 != "packaging/debian/copyright" }
    + files(in: "Sources") { $0.hasSuffix(".md") }

  @Test(arguments: documents)
  func `documents and scripts`(path: String) throws {
    let text = try Repository.text(path)
    let words = path.hasPrefix("man/") ? Wording.words(ofPage: text) : text
    #expect(Wording.faults(in: words, of: path) == [])
  }

  // `--help` consists of such literals, too.
  @Test(arguments: files(in: "Sources") { $0.hasSuffix(".swift") })
  func `messages and help`(path: String) throws {
    let literals = Wording.literals(in: try Repository.text(path))
    #expect(literals.flatMap { Wording.faults(in: $0, of: path) } == [])
  }

  @Test(arguments: files(in: "completions"))
  func `completions`(path: String) throws {
    #expect(Wording.faults(in: try Repository.text(path), of: path) == [])
  }

  @Test(arguments: [
    "It is\nno multiple of 512.", "THERE ARE NO disks", "whoever tells", "The archive is cut.",
    "make uninstall takes it back", "somebody", "(the whole of it)",
  ])
  func `a phrase is found`(text: String) { #expect(Wording.faults(in: text) != []) }

  @Test(arguments: [
    "It is no longer required, nor is nonsense.", "cut -d: -f1", "a shortcut", "--whole",
    "untruncated",
  ])
  func `other words are accepted`(text: String) { #expect(Wording.faults(in: text) == []) }

  @Test func `literals are found without comments and interpolations`() {
    let source = #####"""
      // "not this"
      let a = "one \(f("two", x)) three" /* "nor this" */
      let b = #"four \#(g) "five""#
      let c = """
        six "seven" \(h)
        """
      """#####
    let literals = Wording.literals(in: source).map {
      $0.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
    #expect(literals == ["one X three", #"four X "five""#, #"six "seven" X"#])
  }

  @Test func `words of a page are those that readers see`() {
    let page = ".\\\" a comment\nThere is no\n.Ar MEMBER\nin vma\\-cat."
    #expect(Wording.words(ofPage: page) == "\nThere is no\nMEMBER\nin vma-cat.")
  }
}
