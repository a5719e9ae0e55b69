// SPDX-License-Identifier: Apache-2.0

import Testing

@Suite("Options in all usual spellings")
struct OptionClusterTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Image.mixed(131_072, seed: 1), to: "a.img")
    try dir.write(Sample.smallBytes, to: "a.vma")
  }

  @Test("C6: the value of a clustered option is the rest of its word")
  func values() throws {
    try dir.run(.unpack, "-fChere", "a.vma").succeeds()
    #expect(try !dir.names(in: "here").isEmpty)
    try dir.run(.pack, "-zT0", "-zoFILE", "drive-scsi0=a.img").succeeds()
    try dir.run(.pack, "-zT1", "-qfoFILE", "drive-scsi0=a.img").succeeds()
    try dir.run(.unpack, "-t", "FILE").succeeds()
    try dir.run(.unpack, "-fdscsi0", "-Chelp", "FILE").succeeds()
    try dir.expectNames(["disk-drive-scsi0.raw"], in: "help")
    try dir.run(.toTar, "-fdscsi0", "-fohelp.tar", "FILE").succeeds()
    #expect(dir.exists("help.tar"))
  }

  @Test("C6: the next word is the value, however it begins")
  func nextWord() throws {
    try dir.run(.pack, "-fo", "-help", "drive-scsi0=a.img").succeeds()
    try dir.run(.unpack, "-t", "--", "-help").succeeds()
    try dir.run(.unpack, "-C", "--help", "--", "-help").succeeds()
    try dir.expectNames(["disk-drive-scsi0.raw"], in: "--help")
  }

  @Test(
    "C6: a typing error is one line and 64, never help",
    arguments: [
      ["-help"], ["-version"], ["-vhelp"], ["-list", "a.vma"], ["-vx", "a.vma"], ["-hx"],
      ["-vC"], ["-d"], ["--directory", "--help", "a.vma"], ["--directory", "-h"], ["--list="],
      ["--help=", "a.vma"], ["--version=1"], ["---help"], ["-é"], ["-C", "here", "-" + "-drive"],
    ])
  func typingErrors(words: [String]) throws {
    try dir.run(.unpack, words).fails(64, .unpack)
    try dir.expectNames(["a.img", "a.vma"])
  }

  @Test("C6: help is printed if it is requested", arguments: Tool.allCases)
  func help(tool: Tool) throws {
    for words in [["-h"], ["-vh"], ["-hq"], ["--help"]] {
      #expect(try dir.run(tool, words).succeeds().text.hasPrefix("OVERVIEW: "))
    }
    #expect(try dir.run(tool, ["--version"]).succeeds().text.hasPrefix(tool.rawValue))
  }

  @Test("C6: an empty value is a value")
  func empty() throws {
    // An empty value does not make the next word the value.
    try dir.run(.unpack, "--directory=", "a.vma").fails(73, .unpack)
    try dir.run(.unpack, "-C", "", "a.vma").fails(73, .unpack)
  }
}
