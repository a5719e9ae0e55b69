// SPDX-License-Identifier: Apache-2.0

/// The kinds of tar that can be written.
package enum TarFormat: String, CaseIterable, Sendable {
  case pax, gnutar, ustar

  /// The largest member in bytes, where the format has such a limit: 11 octal digits.
  package var largestMember: UInt64? { self == .ustar ? (8 << 30) - 1 : nil }

  /// The longest name in bytes that is sure to fit; with a slash at the right place more would.
  package var longestName: Int? { self == .ustar ? 100 : nil }

  /// The times of modification that fit, in seconds since 1970: 11 octal digits.
  package var times: ClosedRange<Int64>? { self == .ustar ? 0...(8 << 30) - 1 : nil }
}
