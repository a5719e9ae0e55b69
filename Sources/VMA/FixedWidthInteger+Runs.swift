// SPDX-License-Identifier: Apache-2.0

extension FixedWidthInteger where Self: UnsignedInteger {
  /// Calls `body` with each run of ones, ascending from the lowest bit.
  @inlinable
  package func forEachRun(_ body: (Range<Int>) throws -> Void) rethrows {
    var rest = self
    while rest != 0 {
      let first = rest.trailingZeroBitCount
      let end = first + (~(rest >> first)).trailingZeroBitCount
      try body(first..<end)
      rest &= Self.max << end
    }
  }
}
