// SPDX-License-Identifier: Apache-2.0

@preconcurrency import Glibc
import Synchronization

/// The C library's parser of short options, which does not support long ones.
public enum GetOpt {
  /// The library's state belongs to the process, and tests run at the same time.
  private static let lock = Mutex(())

  /// Parses the words after the name of a tool.
  ///
  /// - Parameters:
  ///   - options: the letters, as for getopt(3).
  ///   - receive: receives each letter, and its value if it has one.
  /// - Returns: the operands; nil if a letter is unknown, or lacks its value.
  public static func parse(
    _ words: [String], _ options: String, _ receive: (Character, String?) -> Void
  ) -> [String]? {
    lock.withLock { _ in
      let copies = (["tool"] + words).map { strdup($0) }
      defer { for word in copies { free(word) } }
      let count = Int32(copies.count)
      // The library moves the operands to its end.
      let argv = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(
        capacity: copies.count + 1)
      defer { argv.deallocate() }
      for (index, word) in (copies + [nil]).enumerated() { argv[index] = word }
      optind = 0
      opterr = 0
      while true {
        let option = getopt(count, argv, options)
        if option == -1 { break }
        let letter = Character(UnicodeScalar(UInt8(option)))
        guard letter != "?" else { return nil }
        receive(letter, options.contains("\(letter):") ? String(cString: optarg) : nil)
      }
      return (Int(optind)..<Int(count)).compactMap { argv[$0].map { String(cString: $0) } }
    }
  }
}
