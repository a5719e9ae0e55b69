// SPDX-License-Identifier: Apache-2.0

/// The tar formats that can be written.
package enum TarFormat: String, CaseIterable, Sendable {
  case pax, gnutar, ustar

  /// The maximum size of a member in bytes, if the format has a limit: 11 octal digits.
  package var largestMember: UInt64? { self == .ustar ? (8 << 30) - 1 : nil }

  /// The maximum length of a name in bytes that always fits; with a slash in the right position,
  /// more would.
  package var longestName: Int? { self == .ustar ? 100 : nil }

  /// The supported modification times, in seconds since 1970: 11 octal digits.
  package var times: ClosedRange<Int64>? { self == .ustar ? 0...(8 << 30) - 1 : nil }
}
