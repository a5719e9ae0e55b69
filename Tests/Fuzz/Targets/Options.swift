// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Command

/// Options of every kind.
struct SampleCommand: ParsableCommand {
  @Flag(name: .shortAndLong) var verbose = false
  @Flag(name: .shortAndLong) var zstd = false
  @Flag var json = false
  @Option(name: .shortAndLong) var output: String?
  @Option(name: [.customShort("T"), .long]) var threads: String?
  @Option var level: String?
  @Argument var operands: [String] = []
}

extension Target {
  private static let sample = Result { try OptionWords(of: SampleCommand.self) }

  /// The words of a command line, against getopt(3).
  public static let options = Target(name: "options") { input in
    let words = input.split(separator: 0, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    let options = try sample.get()
    let separated = try? options.separate(words)
    if let separated, words.first?.utf8.starts(with: "---".utf8) != true {
      try require(
        try options.separate(separated) == separated || words.contains("--"),
        "separated twice is the same: \(words)")
    }
    // getopt(3) does not support long options.
    guard !words.contains(where: { $0.utf8.starts(with: "--".utf8) && $0 != "--" }) else { return }
    try require(found(separated) == expected(words), "\(words) \(separated ?? [])")
  }

  /// Options and operands, in the order of getopt.
  private static func found(_ separated: [String]?) -> [String]? {
    guard let separated else { return nil }
    var options: [String] = []
    var operands: [String] = []
    var rest = separated[...]
    while let word = rest.popFirst() {
      if word == "--" {
        operands += rest
        break
      } else if ["--output", "--threads"].contains(word) {
        options += ["\(word)=\(rest.popFirst() ?? "")"]
      } else if word.utf8.first == UInt8(ascii: "-"), word != "-" {
        options.append(word)
      } else {
        operands.append(word)
      }
    }
    return options + ["--"] + operands
  }

  private static func expected(_ words: [String]) -> [String]? {
    var options: [String] = []
    let operands = GetOpt.parse(words, "hvzo:T:") { letter, value in
      switch letter {
      case "o": options.append("--output=\(value ?? "")")
      case "T": options.append("--threads=\(value ?? "")")
      default: options.append("-\(letter)")
      }
    }
    return operands.map { options + ["--"] + $0 }
  }
}
