// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite("One program contains all tools, selected by its name")
struct ProgramTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  @Test("a link does the same as the tool's own program", arguments: Tool.allCases)
  func link(tool: Tool) throws {
    try dir.sh("mkdir bin && ln -s '\(Repository.program)' bin/\(tool.rawValue)").succeeds()
    let help = try dir.sh("bin/\(tool.rawValue) --help").succeeds()
    #expect(help.text == (try dir.run(tool, "--help").text))
    let wrong = try dir.sh("bin/\(tool.rawValue) --no-such-option")
    wrong.fails(64, tool)
    #expect(wrong.errors == (try dir.run(tool, "--no-such-option").errors))
  }

  @Test("a tool works like its link: pack, then restore")
  func work() throws {
    try dir.write(Sample.scsi, to: "disk.raw")
    try dir.sh(
      """
      mkdir bin; for tool in vma-pack vma-unpack; do ln -s '\(Repository.program)' bin/$tool; done
      bin/vma-pack drive-scsi0=disk.raw | bin/vma-unpack -C restored
      cmp disk.raw restored/disk-drive-scsi0.raw
      """
    ).succeeds()
  }

  @Test(
    "only the last part of the name counts",
    arguments: ["vma-cat", "./vma-cat", "/a/b/vma-cat", "//vma-cat"])
  func path(name: String) throws {
    let outcome = try dir.sh("exec -a '\(name)' '\(Repository.program)' --version")
    outcome.succeeds()
    #expect(outcome.text.hasPrefix("vma-cat "))
  }

  @Test(
    "another name is 64, with the available names",
    arguments: [
      "", "vma-tools", "backup", "vma-catt", "vma-cat/", "vma", "-vma-cat", "VMA-CAT", "\\xff",
    ])
  func unknown(name: String) throws {
    let outcome = try dir.sh("exec -a $'\(name)' '\(Repository.program)' backup.vma")
    // A shell runs a slash at the end as part of a folder's name, which is the tool's.
    if name == "vma-cat/" { return #expect(outcome.ending == .exit(66)) }
    #expect(outcome.ending == .exit(64))
    #expect(outcome.output == [])
    #expect(outcome.errorLines.count == 2 && outcome.errors.hasPrefix("vma-tools: "))
    for tool in Tool.allCases { #expect(outcome.errors.contains(tool.rawValue)) }
  }

  @Test("without /proc there is a message", requires(.mounts))
  func noProc() throws {
    let outcome = try dir.sh(
      """
      unshare --map-root-user --mount sh -c \
        'mount -t tmpfs none /proc && exec "$0" --version' '\(Repository.program)'
      """)
    #expect(outcome.ending == .exit(1))
    #expect(outcome.errors == "vma-tools: cannot read the command line (is /proc mounted?)\n")
  }

  @Test("by its own name it has only help and a version")
  func own() throws {
    let program = "'\(Repository.program)'"
    let help = try dir.sh("\(program) --help").succeeds()
    for tool in Tool.allCases { #expect(help.lines.contains("  \(tool.rawValue)")) }
    #expect(help.lines.filter { $0.count > 80 } == [])
    #expect(try dir.sh("\(program) -h").succeeds().text == help.text)
    #expect(try dir.sh("\(program) --version").succeeds().lines.count == 1)
    for arguments in ["", "-x", "--version x", "vma-cat --version"] {
      #expect(try dir.sh("\(program) \(arguments)").ending == .exit(64))
    }
    for option in ["--help", "--version"] {
      #expect(try dir.sh("\(program) \(option) >/dev/full").ending == .exit(74))
    }
  }

  @Test("all programs have the version of Package.swift, at most with a commit")
  func version() throws {
    let version = try #require(Repository.version)
    for tool in Tool.allCases.map(\.rawValue) + ["vma-tools"] {
      let text = try dir.sh("\(tool) --version").succeeds().text
      #expect(text == "\(tool) \(version)\n" || text.hasPrefix("\(tool) \(version)+"))
    }
  }
}
