// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser
import FoundationEssentials

/// The options that a command declares, and the rules of getopt(3) for the words that name them.
///
/// ArgumentParser accepts clusters of flags only, finds `-h` inside of values, and reads a value
/// that begins with a dash as an option. So every word is separated before it parses them.
package struct OptionWords {
  /// The parts that matter here of what ArgumentParser reports about a command.
  private struct Tool: Decodable {
    var command: Command

    struct Command: Decodable { var arguments: [Argument] }

    struct Argument: Decodable {
      var kind: String
      var names: [Name]?
    }

    struct Name: Decodable {
      var kind: String
      var name: String
    }
  }

  private enum Kind {
    case flag
    /// An option that has a value, with its long name.
    case value(String)
  }

  private var short: [Unicode.Scalar: Kind] = [:]
  private var long: [String: Kind] = [:]

  package init(of command: (some ParsableCommand).Type) throws {
    let tool = try JSONDecoder().decode(Tool.self, from: Data(command._dumpHelp().utf8))
    for argument in tool.command.arguments {
      let names = argument.names ?? []
      let longName = names.first { $0.kind == "long" }?.name
      let kind: Kind = argument.kind == "option" ? .value(longName ?? "") : .flag
      for name in names {
        if name.kind == "long" { long[name.name] = kind }
        if name.kind == "short", let letter = name.name.unicodeScalars.first {
          short[letter] = kind
        }
      }
    }
  }

  /// The same options and operands, with every short option in a word of its own and every value
  /// where ArgumentParser finds it.
  ///
  /// - Throws: `ValidationError` for an unknown short option and a missing value.
  package func separate(_ words: [String]) throws -> [String] {
    // A request of a shell for completions, whose words are incomplete.
    if let first = words.first, first.utf8.starts(with: "---".utf8) { return words }
    var separated: [String] = []
    var rest = words[...]
    while let word = rest.popFirst() {
      if word == "--" { return separated + [word] + rest }
      if word.utf8.starts(with: "--".utf8) {
        try separate(long: word, &rest, into: &separated)
      } else if word.utf8.first == UInt8(ascii: "-"), word != "-" {
        try separate(cluster: word, &rest, into: &separated)
      } else {
        separated.append(word)
      }
    }
    return separated
  }

  /// `-zT0`: flags, and at last an option whose value is the rest of the word or the next word.
  private func separate(
    cluster: String, _ rest: inout ArraySlice<String>, into words: inout [String]
  ) throws {
    var letters = cluster.unicodeScalars.dropFirst()
    while let letter = letters.popFirst() {
      switch short[letter] {
      case .flag: words.append("-\(letter)")
      case .value(let name):
        guard let value = letters.isEmpty ? rest.popFirst() : String(letters) else {
          throw ValidationError("Missing value for '-\(letter)'")
        }
        words += Self.words(name, value)
        return
      case nil:
        let place = cluster.unicodeScalars.count > 2 ? " in '\(cluster)'" : ""
        throw ValidationError("Unknown option '-\(letter)'\(place)")
      }
    }
  }

  private func separate(
    long word: String, _ rest: inout ArraySlice<String>, into words: inout [String]
  ) throws {
    let end = word.firstIndex(of: "=")
    let value = end.map { String(word[word.index(after: $0)...]) }
    let option = String(word[..<(end ?? word.endIndex)])
    switch long[String(option.dropFirst(2))] {
    case .flag where value != nil: throw ValidationError("'\(option)' does not take a value")
    case .value(let name):
      if let value {
        words += Self.words(name, value)
      } else {
        // A forgotten value must not turn the option after it, such as --help, into a value.
        guard let next = rest.popFirst(), next == "-" || next.utf8.first != UInt8(ascii: "-") else {
          throw ValidationError("Missing value for '\(option)' (write \(option)=VALUE)")
        }
        words += Self.words(name, next)
      }
    case nil where !Self.undeclared.contains(option): throw unknown(option)
    case .flag, nil: words.append(word)
    }
  }

  /// What ArgumentParser accepts though no command declares it.
  private static let undeclared: Set = [
    "--generate-completion-script", "--experimental-dump-help", "--help-hidden",
  ]

  private func unknown(_ option: String) -> ValidationError {
    let nearest = long.keys.sorted().map { (name: "--\($0)", distance: edits("--\($0)", option)) }
      .min { $0.distance < $1.distance }
    guard let nearest, nearest.distance <= max(1, option.count / 4) else {
      return ValidationError("Unknown option '\(option)'")
    }
    return ValidationError("Unknown option '\(option)'. Did you mean '\(nearest.name)'?")
  }

  /// ArgumentParser accepts a value that begins with a dash only after `=`, and an empty one only
  /// as a separate word.
  private static func words(_ name: String, _ value: String) -> [String] {
    value.utf8.first == UInt8(ascii: "-") && value != "-"
      ? ["--\(name)=\(value)"] : ["--\(name)", value]
  }
}

/// How many characters must be inserted, removed, replaced or swapped to get from one word to the
/// other.
private func edits(_ first: String, _ second: String) -> Int {
  let first = Array(first)
  let second = Array(second.prefix(100))
  var rows = [Array(0...second.count)]
  for i in first.indices {
    var row = [i + 1]
    for j in second.indices {
      var least = min(rows[i][j] + (first[i] == second[j] ? 0 : 1), rows[i][j + 1] + 1, row[j] + 1)
      if i > 0, j > 0, first[i] == second[j - 1], first[i - 1] == second[j] {
        least = min(least, rows[i - 1][j - 1] + 1)
      }
      row.append(least)
    }
    rows.append(row)
  }
  return rows[first.count][second.count]
}
