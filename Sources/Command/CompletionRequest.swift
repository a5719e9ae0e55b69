// SPDX-License-Identifier: Apache-2.0

import System

/// The words of a command line that a shell asks completions for.
package struct CompletionRequest {
  private let words: [String]
  private let index: Int

  /// - Parameters:
  ///   - words: as they are typed, quotes included; the current one ends at the cursor.
  ///   - index: of the current word.
  init(_ words: [String], index: Int) {
    self.words = words.map(Self.unquoted)
    self.index = index
  }

  /// The value to complete: the current word, without an option's name in the same word.
  package var start: String {
    guard words.indices.contains(index) else { return "" }
    let word = words[index]
    guard word.hasPrefix("-") else { return word }
    guard word.hasPrefix("--") else { return String(word.dropFirst(2)) }
    return word.firstIndex(of: "=").map { String(word[word.index(after: $0)...]) } ?? word
  }

  /// The words beside the current one that may be operands.
  package var operands: [String] {
    words.enumerated().dropFirst().filter { $0.offset != index && !$0.element.hasPrefix("-") }
      .map(\.element)
  }

  /// The value of an option, written as `--option VALUE` or `--option=VALUE`.
  package func value(of option: String) -> String? {
    for (word, next) in zip(words, words.dropFirst() + [""]) {
      if word == option, !next.isEmpty { return next }
      if word.hasPrefix(option + "=") { return String(word.dropFirst(option.count + 1)) }
    }
    return nil
  }

  /// What a shell makes of a word that contains no expansions but `~`.
  private static func unquoted(_ word: String) -> String {
    var text = ""
    var quote: Character?
    var rest = word[...]
    if rest == "~" || rest.hasPrefix("~/"), let home = Host.environment("HOME") {
      text = home
      rest = rest.dropFirst()
    }
    while let character = rest.popFirst() {
      if character == quote {
        quote = nil
      } else if quote == nil, character == "'" || character == "\"" {
        quote = character
      } else if character == "\\", quote != "'", let next = rest.popFirst() {
        text.append(next)
      } else {
        text.append(character)
      }
    }
    return text
  }
}
