// SPDX-License-Identifier: Apache-2.0

extension Span<UInt8> {
  /// Loads a big-endian integer. With one bounds check before the loop, the optimizer turns the
  /// loop into a load and a byte swap.
  @inline(__always)
  package func load<Value: FixedWidthInteger & UnsignedInteger>(
    _ offset: Int, as type: Value.Type = Value.self
  ) -> Value {
    precondition(offset >= 0 && offset <= count &- Value.bitWidth / 8)
    var value: Value = 0
    for index in 0..<Value.bitWidth / 8 {
      value = value &<< 8 | Value(truncatingIfNeeded: self[offset &+ index])
    }
    return value
  }

  /// A copy of some of the bytes.
  func array(_ range: Range<Int>) -> [UInt8] {
    var copy: [UInt8] = []
    copy.reserveCapacity(range.count)
    for index in range { copy.append(self[index]) }
    return copy
  }
}

extension MutableSpan<UInt8> {
  /// Stores an integer big-endian.
  @inline(__always)
  mutating func store(_ value: some FixedWidthInteger & UnsignedInteger, at offset: Int) {
    let byteCount = value.bitWidth / 8
    precondition(offset >= 0 && offset <= count &- byteCount)
    for index in 0..<byteCount {
      self[offset &+ index] = UInt8(
        truncatingIfNeeded: value &>> (8 &* (byteCount &- 1 &- index)))
    }
  }
}
