// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Command
import FuzzTargets
import TestSupport
import Testing

@testable import CatTool
@testable import PackTool
@testable import TapTool
@testable import ToTarTool
@testable import UnpackTool

/// A tool, and its short options in the notation of getopt(3).
private struct Tool: CustomTestStringConvertible, Sendable {
  var command: any Filter.Type
  var options: String
  /// The long name of each short option.
  var names: [Character: String]
  /// Words that every call requires.
  var required: [String] = []

  var testDescription: String { command.configuration.commandName ?? "" }

  private static let common: [Character: String] = ["h": "help", "q": "quiet", "v": "verbose"]

  static let all = [
    Tool(
      command: VMAPack.self, options: "c:fho:qT:vz",
      names: common.merging(
        ["c": "config", "f": "force", "o": "output", "T": "threads", "z": "zstd"]) { $1 }),
    Tool(
      command: VMAUnpack.self, options: "C:d:fhlm:qT:tv",
      names: common.merging(
        [
          "C": "directory", "d": "drive", "f": "force", "l": "list", "m": "map", "t": "test",
          "T": "threads",
        ]) { $1 }),
    Tool(
      command: VMACat.self, options: "hqT:v", names: common.merging(["T": "threads"]) { $1 },
      required: ["a.vma"]),
    Tool(
      command: VMAToTar.self, options: "d:fho:qT:v",
      names: common.merging(
        ["d": "drive", "f": "force", "o": "output", "T": "threads"]) { $1 }),
    Tool(
      command: VMATap.self, options: "c:d:hlqv",
      names: common.merging(["c": "config", "d": "device", "l": "list"]) { $1 },
      required: ["--qmp", "socket"]),
  ]

  /// The C library's result for the words: every option by its long name, then the operands. Nil if
  /// it finds an unknown option, or no value.
  func separated(_ words: [String]) -> [String]? {
    var separated: [String] = []
    var isKnown = true
    let operands = GetOpt.parse(words, options) { letter, value in
      guard let name = names[letter] else {
        isKnown = false
        return
      }
      guard let value else {
        separated.append("--\(name)")
        return
      }
      separated += value.hasPrefix("-") ? ["--\(name)=\(value)"] : ["--\(name)", value]
    }
    return isKnown ? operands.map { separated + ["--"] + $0 } : nil
  }
}

/// The meaning of a command line.
private enum Meaning: Equatable {
  case command(String)
  case message(status: Int32, String)
}

extension Filter {
  /// - Parameter options: separates the words, as a tool does with its own.
  fileprivate static func meaning(of words: [String], _ options: OptionWords? = nil) -> Meaning {
    do {
      let words = try options?.separate(words) ?? words
      return .command("\(try parseAsRoot(words))")
    } catch {
      let status = exitCode(for: error).rawValue
      // The text of failures is not compared, because it names the option in either form.
      return .message(status: status, status == 0 ? fullMessage(for: error) : "")
    }
  }
}

@Suite("Short options are parsed as by getopt(3)", .serialized)
struct OptionWordTests {
  @Test("C6: random clusters mean the same as their separated form", arguments: Tool.all)
  fileprivate func clusters(tool: Tool) throws {
    let options = try OptionWords(of: tool.command)
    var random = SeededGenerator(seed: 6)
    let letters = Array(tool.options.filter { $0 != ":" })
    let values = ["x", "here", "0", "-", "--", "-v", "--help", "a=b", "=", "é", "d=/dev/vg/h"]
    var counts = [0, 0, 0]
    for _ in 0..<300 {
      var words: [String] = []
      for _ in 0..<Int.random(in: 0...4, using: &random) {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: words.append(values.randomElement(using: &random)!)
        case 1: words.append(String(values.randomElement(using: &random)!.drop { $0 == "-" }))
        default:
          // Help and unknown letters are rare, so most command lines are accepted.
          let word = (0..<Int.random(in: 1...4, using: &random)).map { _ -> Character in
            let letter = letters.randomElement(using: &random)!
            let isRare = letter == "h" && Int.random(in: 0..<4, using: &random) > 0
            return Int.random(in: 0..<40, using: &random) == 0 ? "e" : isRare ? "v" : letter
          }
          let value = Bool.random(using: &random) ? "" : values.randomElement(using: &random)!
          words.append("-" + String(word) + value)
        }
      }
      let found = tool.command.meaning(of: tool.required + words, options)
      // getopt does not support long options.
      if words.contains(where: { $0.hasPrefix("--") && $0 != "--" }) { continue }
      guard let separated = tool.separated(words) else {
        #expect(found == .message(status: 64, ""), "\(words)")
        counts[0] += 1
        continue
      }
      let operands = tool.required.first == "--qmp" ? [] : tool.required
      var expected = separated
      if let end = expected.firstIndex(of: "--") {
        expected.insert(contentsOf: operands, at: end + 1)
      }
      if operands.isEmpty { expected = tool.required + expected }
      #expect(found == tool.command.meaning(of: expected), "\(words)")
      counts[found == .message(status: 64, "") ? 1 : 2] += 1
    }
    // Each kind occurred often enough to prove something.
    #expect(counts.allSatisfy { $0 > 8 }, "\(counts)")
  }

  @Test("C6: a declared option has a long name, and the list here is complete", arguments: Tool.all)
  fileprivate func declared(tool: Tool) throws {
    let options = try OptionWords(of: tool.command)
    for letter in (UInt8(ascii: "A")...UInt8(ascii: "z")).map({ Character(UnicodeScalar($0)) }) {
      guard letter.isLetter else { continue }
      let words = tool.required + ["-\(letter)1"]
      let isKnown = tool.names[letter] != nil
      let takesValue = tool.options.contains("\(letter):")
      let separated = try? options.separate(words)
      #expect((separated != nil) == (isKnown && takesValue), "-\(letter)")
      if let name = tool.names[letter], takesValue {
        #expect(separated == tool.required + ["--\(name)", "1"])
      }
    }
  }
}
