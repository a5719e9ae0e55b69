// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// The repository, which contains the pages and completions.
private let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
  .deletingLastPathComponent().deletingLastPathComponent().path

private func document(_ path: String) throws -> String {
  try String(contentsOfFile: repository + "/" + path, encoding: .utf8)
}

@Suite("Help, man page and completions list the same options")
struct DocumentTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// The argument parser's own description of a tool.
  private struct Dump: Decodable {
    struct Command: Decodable { var arguments: [Argument]? }
    struct Argument: Decodable {
      var kind: String
      var shouldDisplay: Bool
      var names: [Name]?
      var abstract: String?
      var valueName: String?
      var allValues: [String]?
    }
    struct Name: Decodable {
      var kind: String
      var name: String
    }
    var command: Command
  }

  private func dumped(_ tool: Tool) throws -> [Dump.Argument] {
    let output = try dir.run(tool, "--experimental-dump-help").succeeds().output
    return try JSONDecoder().decode(Dump.self, from: Data(output)).command.arguments ?? []
  }

  private func dumpedOptions(of tool: Tool) throws -> Set<String> {
    let shown = try dumped(tool).filter {
      $0.kind != "positional" && $0.shouldDisplay
    }
    return Set(
      shown.flatMap { $0.names ?? [] }.map { name in
        let dashes = name.kind == "long" ? "--" : "-"
        return dashes + name.name
      })
  }

  /// The options at the start of lines of the help.
  private func helpOptions(of tool: Tool) throws -> Set<String> {
    let lines = try dir.run(tool, "--help").succeeds().lines
    var options: Set<String> = []
    for line in lines where line.hasPrefix("  -") {
      // The explanation follows two spaces.
      let head = line.dropFirst(2).components(separatedBy: "  ")[0]
      for word in head.split(whereSeparator: { ", ".contains($0) }) where word.hasPrefix("-") {
        options.insert(String(word.prefix { $0 != "=" && $0 != "<" }))
      }
    }
    return options
  }

  /// `.It Fl o , Fl -output Ar FILE`, or with `Fl Fl output`.
  private func pageOptions(of tool: Tool) throws -> Set<String> {
    var options: Set<String> = []
    for line in try document("man/\(tool.rawValue).1").split(separator: "\n")
    where line.hasPrefix(".It Fl ") {
      let words = line.split(separator: " ").map(String.init)
      for (index, word) in words.enumerated() where word == "Fl" {
        guard index + 1 < words.count, words[index + 1] != "Fl" else { continue }
        let dashes = words[index - 1] == "Fl" ? "--" : "-"
        options.insert(dashes + words[index + 1])
      }
    }
    return options
  }

  @Test(arguments: Tool.allCases)
  func `help, dump and page agree in both directions`(tool: Tool) throws {
    let dumped = try dumpedOptions(of: tool)
    let help = try helpOptions(of: tool)
    let page = try pageOptions(of: tool)
    #expect(dumped.contains("--help") && dumped.contains("--version"))
    #expect(help.symmetricDifference(dumped) == [])
    #expect(page.symmetricDifference(dumped) == [])
  }

  @Test(arguments: [
    (
      Tool.pack,
      [
        "--size", "--pad", "-c", "--config", "-o", "--output", "-f", "-z", "--zstd",
        "--level", "-T", "--threads", "--uuid", "--ctime", "--pve", "--events", "--ack-fd",
        "--tmpdir",
      ]
    ),
    (
      .unpack,
      [
        "-C", "--directory", "-d", "--drive", "--no-configs", "-m", "--map", "--only", "-f",
        "--force", "-l", "--list", "--json", "--pve", "-t", "--test", "--quick", "--salvage",
        "--lost",
      ]
    ),
    (.cat, ["--offset", "--length", "--tmpdir"]),
    (.toTar, ["-d", "--format", "--no-sparse", "--layout", "--prefix", "--tmpdir", "-o", "-f"]),
    (.tap, ["--qmp", "-d", "--device", "-c", "--config", "--list"]),
  ])
  func `every option of the contract exists`(tool: Tool, options: [String]) throws {
    let common = [
      "-h", "--help", "--version", "-q", "--quiet", "-v", "--verbose", "--progress",
    ]
    let missing = Set(options + common).subtracting(try dumpedOptions(of: tool))
    #expect(missing == [])
  }

  @Test(arguments: Tool.allCases)
  func `help fits a terminal and goes to stdout`(tool: Tool) throws {
    let long = try dir.run(tool, "--help").succeeds()
    expectSame(try dir.run(tool, "-h").succeeds().output, long.output, "-h")
    #expect(long.lines.filter { $0.count > 80 } == [])
    #expect(long.text.contains(tool.rawValue))
    #expect(long.output.last == 0x0a)
  }

  @Test(arguments: Tool.allCases)
  func `--version prints a version`(tool: Tool) throws {
    let outcome = try dir.run(tool, "--version").succeeds()
    #expect(outcome.lines.count == 1)
    #expect(outcome.text.contains { $0.isNumber })
    let others = try Tool.allCases.map {
      try dir.run($0, "--version").text.split(separator: " ").last
    }
    #expect(Set(others).count == 1, "the tools are one family")
  }

  @Test(
    arguments: Tool.allCases,
    [
      ["--no-such-option"], ["-Y"], ["--progress"], ["--progress", "purple", "x"],
      ["--no-such\u{1b}[31m\noption"],
    ])
  func `a wrong option is one line and 64`(tool: Tool, arguments: [String]) throws {
    try dir.run(tool, arguments).fails(64, tool)
  }

  /// The options in command lines of a text, each with the name of the tool.
  private func usedOptions(in text: String) -> [(tool: String, option: String)] {
    let lines = text.replacingOccurrences(of: "\\-", with: "-")
      .replacingOccurrences(of: "\\e\n", with: " ").replacingOccurrences(of: "\\\n", with: " ")
      .split(separator: "\n")
    var used: [(tool: String, option: String)] = []
    for line in lines {
      var tool: String?
      for word in line.split(separator: " ") {
        let bare = word.trimmingCharacters(
          in: .punctuationCharacters.union(["`", "$", "<", ">", "|"]))
        if Tool(rawValue: bare) != nil {
          tool = bare
        } else if word.contains(where: { "|;&>)".contains($0) }) {
          tool = nil
        } else if let tool, let match = word.firstMatch(of: /^(--[a-z-]+|-[A-Za-z])/) {
          used.append((tool, String(match.output.0)))
        }
      }
    }
    return used
  }

  @Test(
    arguments: ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
      + (Tool.allCases.map { "\($0.rawValue).1" }
      + ["nbdkit-vma-plugin.1", "vma.5", "vma-events.5", "vma-recipes.7"]).map { "man/" + $0 })
  func `command lines in documents use options that exist`(path: String) throws {
    let used = usedOptions(in: try document(path))
    for tool in Tool.allCases {
      let options = Set(used.filter { $0.tool == tool.rawValue }.map(\.option))
      #expect(options.subtracting(try dumpedOptions(of: tool)) == [], "\(tool.rawValue)")
    }
  }

  @Test func `options in command lines are found`() {
    let text = "Use `vma-cat --offset` or\nssh a vma\\-pack \\-zo x \\\n  --pve | tar -x; vma-tap"
    let used = usedOptions(in: text).map { "\($0.tool) \($0.option)" }
    #expect(used == ["vma-cat --offset", "vma-pack -z", "vma-pack --pve"])
  }

  @Test(arguments: Tool.allCases)
  func `an unknown option is reported before a missing argument`(tool: Tool) throws {
    for arguments in [["--hlep"], ["--hlep=x"], ["a.vma", "--hlep"], ["--hlep", "--progress"]] {
      try dir.run(tool, arguments).fails(
        64, tool, saying: "Unknown option '--hlep'. Did you mean '--help'?")
    }
    try dir.run(tool, "--qzx").fails(64, tool, saying: "Unknown option '--qzx' (see --help)")
  }

  @Test(arguments: Tool.allCases)
  func `an option's help is a short sentence, and lists its values once`(tool: Tool) throws {
    for argument in try dumped(tool) where argument.shouldDisplay {
      let help = try #require(argument.abstract)
      #expect(help.count <= 60 && help.hasSuffix("."), "\(help)")
      #expect(help.first?.isUppercase == true, "\(help)")
      // Placeholders are in capitals, as in the manual.
      if let name = argument.valueName, argument.kind != "flag" {
        #expect(name == name.uppercased())
      }
      let listed = (argument.allValues ?? []).filter { help.contains($0) }
      #expect(listed.count <= 1, "\(help)")
    }
  }

  // MARK: Pages

  static let pages =
    Tool.allCases.map { "\($0.rawValue).1" }
    + ["nbdkit-vma-plugin.1", "vma-tools.1", "vma.5", "vma-events.5", "vma-recipes.7"]

  private func sections(of page: String) throws -> [String] {
    try document("man/" + page).split(separator: "\n").filter { $0.hasPrefix(".Sh ") }
      .map { $0.dropFirst(4).replacingOccurrences(of: "\\&", with: "") }
  }

  @Test(arguments: Tool.allCases)
  func `examples come right after the synopsis`(tool: Tool) throws {
    let sections = try sections(of: "\(tool.rawValue).1")
    #expect(Array(sections.prefix(3)) == ["NAME", "SYNOPSIS", "EXAMPLES"])
    for section in ["DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"] {
      #expect(sections.contains(section))
    }
  }

  @Test(requires("mandoc"), arguments: pages)
  func `mandoc prints no warnings`(page: String) throws {
    let outcome = try dir.sh("mandoc -T lint '\(repository)/man/\(page)'")
    // These pages break two conventions on purpose: examples come first, and the footer names the
    // project. Other pages may not be installed on this machine.
    let allowed = [
      "sections out of conventional order", "operating system explicitly specified",
      "referenced manual not found",
    ]
    let complaints = outcome.lines.filter { line in !allowed.contains { line.contains($0) } }
    #expect(complaints == [])
  }

  @Test(arguments: pages)
  func `a page begins with its license and has its name`(page: String) throws {
    let text = try document("man/" + page)
    #expect(text.contains("SPDX-License-Identifier: Apache-2.0"))
    let name = page.dropLast(2)
    #expect(text.contains(".Os vma-tools\n"))
    #expect(text.contains(".Nm \(name)"))
    #expect(text.contains(".Dt \(name.uppercased()) \(page.suffix(1))"))
  }

  // MARK: Completions

  private static let shells = [("bash", "", ".bash"), ("zsh", "_", ""), ("fish", "", ".fish")]

  @Test(arguments: Tool.allCases, shells.map(\.0))
  func `committed completions are up to date`(tool: Tool, shell: String) throws {
    let (_, prefix, suffix) = try #require(Self.shells.first { $0.0 == shell })
    let script = try dir.run(tool, "--generate-completion-script", shell).succeeds()
    let committed = try document("completions/\(prefix)\(tool.rawValue)\(suffix)")
    expectSame(Array(committed.utf8), script.output, "completions for \(shell)")
  }

  @Test(requires("bash", "zsh", "fish"), arguments: Tool.allCases)
  func `every shell accepts its completions`(tool: Tool) throws {
    let folder = "'\(repository)/completions'"
    try dir.sh("bash -n \(folder)/\(tool.rawValue).bash").succeeds()
    try dir.sh("zsh -n \(folder)/_\(tool.rawValue)").succeeds()
    try dir.sh("fish -n \(folder)/\(tool.rawValue).fish").succeeds()
  }
}
