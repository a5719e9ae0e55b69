// SPDX-License-Identifier: Apache-2.0

import Foundation

/// Phrases that readers had to translate, with better ones.
///
/// To reject another phrase, add it to `phrases`. If a phrase is right in one place, add that place to
/// `exceptions` with the reason.
enum Wording {
  struct Phrase: Sendable {
    /// A regular expression; words are matched as whole words, in upper and lower case.
    let pattern: String
    let better: String

    init(_ pattern: String, _ better: String) {
      self.pattern = pattern
      self.better = better
    }
  }

  static let phrases = [
    Phrase("(is|are|was|were) no(?! longer)", "is not a"),
    Phrase("of no", "not a"),
    Phrase("there (is|are|was) no(?! longer)", "X does not exist"),
    Phrase("no multiple", "not a multiple"),
    Phrase("tells?|telling|told|untold", "report, send"),
    Phrase("tak(e|es|en|ing) (it |that |all |things )?back", "remove, release, clean up"),
    Phrase("somebody|nobody|anybody|whoever|whatever it is", "name who does it"),
    Phrase("whole", "complete, entire"),
    Phrase("cut( off)?(?! -)", "truncated"),
    Phrase("dear", "expensive"),
    Phrase("puts? (data )?aside|lets? data wait|has to wait|have to wait", "buffer"),
    Phrase("sums? up", "print a summary"),
    Phrase("says? nothing", "print only errors"),
    Phrase("nothing but", "only"),
    Phrase("so many (bytes|seconds|MiB)", "at most this many bytes"),
    Phrase("instant", "point in time"),
    Phrase("sought", "seekable"),
    Phrase("for good", "unrecoverable"),
    Phrase("forgets?", "omits"),
    Phrase("first word", "first record"),
    Phrase("exists? already", "already exists"),
    Phrase("by (itself|themselves)", "automatically"),
    Phrase("mends?", "prevents"),
    Phrase("(is|are) met by", "if ..., then ..."),
    Phrase("asks? for|asked for", "request, require"),
    Phrase("for who", "for those who"),
    Phrase("at hand", "available"),
    Phrase("goes? with none|go with none", "cannot be combined with"),
    Phrase("stands? still", "stops"),
    Phrase("as (it|they) stands?", "as it is"),
    Phrase("runs on(?! (Linux|Debian|Windows|the|a))", "continues to run"),
    Phrase("goes on|going on|go on", "continues"),
    Phrase("what is missing", "missing packages"),
    Phrase("hindrance", "does not matter"),
    Phrase("anew", "again, update"),
    Phrase("of consequence", "important"),
    Phrase("without a word", "silently"),
    Phrase("noise", "messages"),
    Phrase("is (in )?want(ed)? of", "needs"),
    Phrase("(has|have|is|are) gone", "has exited, no longer exists"),
    Phrase("sees? to", "does"),
    Phrase("had before", "allocated before"),
    Phrase("caused by the guest, \\d+ bytes", "guest writes"),
  ]

  /// A phrase that is right in one place: the line of the file that contains `text`.
  struct Exception: Sendable {
    let file: String
    let text: String
    let reason: String
  }

  static let exceptions = ["vma-pack", "vma-unpack", "vma-cat", "vma-to-tar", "vma-tap"].map {
    Exception(
      file: "completions/\($0).bash", text: "by itself -- is",
      reason: "a comment that the argument parser writes")
  }

  private static let expression: NSRegularExpression = {
    let alternatives = phrases.map { "(?:\($0.pattern))" }.joined(separator: "|")
    // The list is constant, so an error in it is an error in this file.
    guard
      let expression = try? NSRegularExpression(
        pattern: "(?<![\\w-])(?:\(alternatives))(?![\\w-])", options: .caseInsensitive)
    else { preconditionFailure("a pattern is not a regular expression") }
    return expression
  }()

  /// The phrases in a text, each with the words around it.
  static func faults(in text: String, of file: String = "") -> [String] {
    var text = text
    for exception in exceptions where exception.file == file {
      text = text.replacingOccurrences(of: exception.text, with: "")
    }
    // A phrase may contain a line break.
    text = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    let whole = NSRange(text.startIndex..., in: text)
    return expression.matches(in: text, range: whole).compactMap { match in
      guard let found = Range(match.range, in: text) else { return nil }
      let start = text.index(found.lowerBound, offsetBy: -40, limitedBy: text.startIndex)
      let end = text.index(found.upperBound, offsetBy: 40, limitedBy: text.endIndex)
      return "\(text[(start ?? text.startIndex)..<(end ?? text.endIndex)])"
    }
  }

  /// The words of a manual page, without macros and escapes.
  static func words(ofPage text: String) -> String {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      // `.Ar FILE` is the word FILE; a comment is not a part of the page.
      if line.hasPrefix(".\\\"") { return "" }
      guard line.hasPrefix(".") else { return String(line) }
      return line.split(separator: " ").dropFirst().joined(separator: " ")
    }
    return lines.joined(separator: "\n")
      .replacingOccurrences(of: "\\-", with: "-").replacingOccurrences(of: "\\(aq", with: "'")
      .replacingOccurrences(of: "\\&", with: "").replacingOccurrences(of: "\\e", with: "\\")
  }

  /// The string literals of Swift source, one a line, without comments and interpolations.
  static func literals(in source: String) -> [String] {
    var scanner = LiteralScanner(source)
    return scanner.scan()
  }
}

/// Finds string literals as far as this project's sources need it.
private struct LiteralScanner {
  private let source: [Character]
  private var position = 0

  init(_ source: String) { self.source = Array(source) }

  private func isNext(_ text: String) -> Bool {
    source[position...].starts(with: text)
  }

  mutating func scan() -> [String] {
    var literals: [String] = []
    while position < source.count {
      if isNext("//") {
        skip(past: "\n")
      } else if isNext("/*") {
        skip(past: "*/")
      } else if let hashes = hashesOfLiteral() {
        position += hashes
        literals.append(literal(hashes: hashes))
      } else {
        position += 1
      }
    }
    return literals
  }

  private mutating func skip(past end: String) {
    while position < source.count, !isNext(end) { position += 1 }
    position += end.count
  }

  /// The number of `#` before the quotation mark if a literal starts here.
  private func hashesOfLiteral() -> Int? {
    let hashes = source[position...].prefix { $0 == "#" }.count
    let quote = position + hashes
    return quote < source.count && source[quote] == "\"" ? hashes : nil
  }

  private mutating func literal(hashes: Int) -> String {
    let quotes = isNext("\"\"\"") ? "\"\"\"" : "\""
    let end = quotes + String(repeating: "#", count: hashes)
    let escape = "\\" + String(repeating: "#", count: hashes)
    position += quotes.count
    var text = ""
    while position < source.count, !isNext(end) {
      if isNext(escape + "(") {
        position += escape.count + 1
        skipInterpolation()
        text += "X"
      } else if isNext(escape) {
        // Line breaks are white space, and other escapes are not words.
        position += escape.count + 1
        text += " "
      } else {
        text.append(source[position])
        position += 1
      }
    }
    position += end.count
    return text
  }

  private mutating func skipInterpolation() {
    var depth = 1
    while position < source.count, depth > 0 {
      if let hashes = hashesOfLiteral() {
        position += hashes
        _ = literal(hashes: hashes)
        continue
      }
      if source[position] == "(" { depth += 1 }
      if source[position] == ")" { depth -= 1 }
      position += 1
    }
  }
}
