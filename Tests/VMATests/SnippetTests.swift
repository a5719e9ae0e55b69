// SPDX-License-Identifier: Apache-2.0

import Archives
import Foundation
import TestSupport
import Testing
import VMA

/// The code of the articles in VMA.docc works, and is the code compiled here.
@Suite struct SnippetTests {
  private static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  private static func text(_ path: String) throws -> String {
    try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }

  @Test(arguments: [
    ("ReadAnArchive", "ReadAnArchive"), ("ReadOneDisk", "ReadAnArchive"),
    ("WriteAnArchive", "WriteAnArchive"),
  ])
  func articlesShowTheSameCode(snippet: String, article: String) throws {
    let file = try Self.text("Tests/VMATests/Snippets/\(snippet).swift")
    let parts = file.components(separatedBy: "// snippet.")
    #expect(parts.count == 3)
    let code = parts[1].dropFirst("begin\n".count)
    #expect(code.contains("import VMA\n"))
    let page = try Self.text("Sources/VMA/VMA.docc/\(article).md")
    #expect(page.contains("```swift\n\(code)```\n"))
  }

  /// Warnings of docc are errors: all links are valid, and all parameters are documented.
  @Test(Requirements(["docc", "make", "swiftc"]))
  func theDocumentationIsBuilt() throws {
    let (succeeds, output) = Command.run("make -s -C '\(Self.root.path)' docs 2>&1")
    #expect(succeeds, "\(output)")
  }

  @Test(arguments: [1, 512, 65536, 65536 * 60, 540672])
  func writtenHeadersAreReadBack(size: Int) throws {
    let size = size.roundedUp(toMultipleOf: 512)
    var disk = [UInt8](repeating: 0, count: size)
    for place in stride(from: 0, to: size, by: 5000) { disk[place] = UInt8(place % 251) }
    var archive: [UInt8] = []
    try writeArchive(of: disk, digest: MD5.self) { archive += $0 }

    var found = [UInt8](repeating: 0, count: size)
    let chunks = stride(from: 0, to: archive.count, by: 1000).map {
      Array(archive[$0..<min($0 + 1000, archive.count)])
    }
    try readArchive(chunks, digest: MD5.self) { device, offset, data in
      #expect(device == 1)
      found.replaceSubrange(Int(offset)..<Int(offset) + data.count, with: data)
    }
    #expect(found == disk)

    var again = [UInt8](repeating: 0, count: size)
    let blocks = try blocks(of: 1, digest: MD5.self) { byte, count in
      Array(archive[Int(byte)..<min(Int(byte) + count, archive.count)])
    }
    for (place, offset, length) in blocks {
      let end = min(Int(offset) + length, size)
      again.replaceSubrange(
        Int(offset)..<end, with: archive[Int(place)...].prefix(end - Int(offset)))
    }
    #expect(again == disk)
  }
}
