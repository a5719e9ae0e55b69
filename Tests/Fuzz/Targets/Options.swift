// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Command
@preconcurrency import Glibc

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
    // The library's state belongs to the process.
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
    let copies = (["tool"] + words).map { strdup($0) }
    defer { for word in copies { free(word) } }
    let count = Int32(copies.count)
    let argv = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(
      capacity: copies.count + 1)
    defer { argv.deallocate() }
    for (index, word) in (copies + [nil]).enumerated() { argv[index] = word }
    optind = 0
    opterr = 0
    var options: [String] = []
    while true {
      let option = getopt(count, argv, "hvzo:T:")
      switch option {
      case -1:
        return options + ["--"]
          + (Int(optind)..<Int(count)).compactMap { argv[$0].map { String(cString: $0) } }
      case Int32(UInt8(ascii: "o")): options.append("--output=" + String(cString: optarg))
      case Int32(UInt8(ascii: "T")): options.append("--threads=" + String(cString: optarg))
      case Int32(UInt8(ascii: "?")): return nil
      default: options.append("-\(UnicodeScalar(UInt8(option)))")
      }
    }
  }
}
