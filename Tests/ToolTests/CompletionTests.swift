// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Completions know options, files and what an archive holds", requires("bash"))
struct CompletionTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// What bash offers for the last of these words.
  private func complete(_ tool: Tool, _ words: String...) throws -> [String] {
    let last = words.count - 1
    let quoted = words.map { "'\($0)'" }.joined(separator: " ")
    let outcome = try dir.sh(
      """
      source <(\(tool.rawValue) --generate-completion-script bash)
      COMP_WORDS=(\(tool.rawValue) \(quoted)) COMP_CWORD=\(last + 1)
      COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE}
      function=$(complete -p \(tool.rawValue)) && function=${function##*-F }
      function=${function%% *}
      $function \(tool.rawValue) "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
      printf '%s\\n' "${COMPREPLY[@]}"
      """)
    outcome.succeeds()
    return outcome.lines.map { $0.trimmingCharacters(in: .whitespaces) }.sorted()
  }

  @Test func `options`() throws {
    #expect(try complete(.unpack, "--salv") == ["--salvage"])
    #expect(try complete(.pack, "--uu") == ["--uuid"])
    #expect(try complete(.toTar, "--format", "") == ["gnutar", "pax", "ustar"])
    #expect(try complete(.cat, "--progress", "a") == ["always", "auto"])
  }

  @Test func `files`() throws {
    try dir.write(Sample.smallBytes, to: "backup.vma")
    for tool in Tool.allCases where tool != .tap {
      #expect(try complete(tool, "back").contains("backup.vma"))
    }
  }

  @Test func `the drives of an archive, and for vma-cat its configs`() throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    let drives = ["drive-efidisk0", "drive-scsi0"]
    for tool in [Tool.unpack, .toTar] {
      let offered = try complete(tool, "a.vma", "-d", "")
      #expect(Set(drives).isSubset(of: offered))
      #expect(!offered.contains("qemu-server.conf"))
    }
    let members = try complete(.cat, "a.vma", "")
    #expect(Set(drives + ["qemu-server.conf", "qemu-server.fw"]).isSubset(of: members))
    #expect(try complete(.cat, "a.vma", "drive-s") == ["drive-scsi0"])
    #expect(try complete(.unpack, "a.vma", "-d", "s") == ["scsi0"])
  }

  @Test func `no archive, a damaged one, or one that is not there: nothing, and no noise`() throws {
    try dir.write("hello", to: "text")
    try dir.write(Sample.smallBytes.prefix(1000), to: "cut.vma")
    for name in ["text", "cut.vma", "missing.vma", "."] {
      #expect(try complete(.cat, name, "").filter { !$0.isEmpty } == [])
    }
  }

  @Test func `names that a shell would take for more than names are not offered to it`() throws {
    let evil = ["$(touch owned)", "`touch owned`", "a;touch owned", "a\u{1b}[31m", "a b", "$HOME"]
    for name in evil {
      let archive = Archive([Archive.Disk(name, Sample.efi), Archive.Disk("good", Sample.efi)])
      try dir.write(archive.bytes(), to: "a.vma")
      let offered = try complete(.cat, "a.vma", "")
      #expect(offered.contains("good"))
      #expect(!offered.joined().unicodeScalars.contains("\u{1b}"))
      #expect(!offered.contains { $0.contains(dir.path) })
      try dir.expectNames(["a.vma"])
    }
  }
}
