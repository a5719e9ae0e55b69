// SPDX-License-Identifier: Apache-2.0

extension ArchiveHeader {
  /// The identity of an archive, repeated in each of its extents.
  public struct UUID: Hashable, Sendable, LosslessStringConvertible {
    /// The 16 bytes, the first one most significant.
    public var value: UInt128

    public init(_ value: UInt128) {
      self.value = value
    }

    /// Reads the usual form, `9beaf9f9-8a21-48bb-abb2-00124227089f`, in either case.
    public init?(_ description: String) {
      let groups = description.utf8.split(
        separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
      guard groups.map(\.count) == [8, 4, 4, 4, 12] else { return nil }
      var value: UInt128 = 0
      for digit in groups.joined() {
        guard let nibble = Character(UnicodeScalar(digit)).hexDigitValue else { return nil }
        value = value << 4 | UInt128(nibble)
      }
      self.value = value
    }

    public var description: String {
      var text = ""
      for index in 0..<16 {
        if [4, 6, 8, 10].contains(index) { text += "-" }
        let byte = UInt8(truncatingIfNeeded: value >> (8 * (15 - UInt128(index))))
        text += (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
      return text
    }
  }
}
