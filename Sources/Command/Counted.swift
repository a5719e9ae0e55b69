// SPDX-License-Identifier: Apache-2.0

/// A number of things in a message, such as `1 drive` or `3 drives`.
package struct Counted: CustomStringConvertible {
  private let count: UInt64
  private let noun: String

  /// - Parameter noun: in the singular; its plural ends with `s`.
  package init(_ count: some BinaryInteger, _ noun: String) {
    self.count = UInt64(count)
    self.noun = noun
  }

  package var description: String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
}
