// SPDX-License-Identifier: Apache-2.0

/// `NAME=VALUE`, or a value alone.
package struct NamedValue: Hashable, Sendable {
  package var name: String?
  package var value: String

  /// Treats text before the first `=` as a name only if it is a valid one (`[A-Za-z0-9_.-]+`), so
  /// that a path or URI that contains `=` needs no name.
  package init(_ argument: String) {
    let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    if parts.count == 2, !parts[0].isEmpty, parts[0].utf8.allSatisfy(isPlain) {
      name = String(parts[0])
      value = String(parts[1])
    } else {
      value = argument
    }
  }
}

/// Whether the name of an operand may contain a character (which then needs no quotes in a shell).
package func isPlain(_ character: UInt8) -> Bool {
  switch character {
  case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."),
    UInt8(ascii: "-"):
    true
  default: false
  }
}
