// SPDX-License-Identifier: Apache-2.0

/// The digests of other extents, in an extent without clusters.
///
/// They are in the bytes of unused slots, which readers that do not know digests skip.
public struct ExtentDigests: Hashable, Sendable {
  /// Extents that one extent of digests can cover.
  public static let capacity = 25
  static let tag: UInt64 = 0x5858_4833_2d31_3238  // "XXH3-128"
  static let version: UInt8 = 1

  /// XXH3-128 of the blocks of each covered extent, in their order: those extents with blocks that
  /// come after the previous digests.
  public private(set) var values: [UInt128]
  /// The stated number of digests. More than there can be is an error.
  let count: Int

  /// - Parameter values: at most 25.
  init(_ values: [UInt128]) {
    self.values = values
    count = values.count
  }

  /// Where the fields are in the free bytes of the slots.
  private enum Offset {
    static let tag = 0
    static let version = 8
    static let count = 9
    static let digests = 13
    static let end = digests + 16 * capacity
  }

  /// The position in the header of a free byte: a slot has 7, because its device must stay 0.
  private static func position(_ index: Int) -> Int {
    let byte = index % 7
    return VMAFormat.ExtentOffset.slots + VMAFormat.ExtentOffset.slotStride * (index / 7)
      + (byte < 3 ? byte : byte + 1)
  }

  /// - Parameter header: 512 bytes without a used slot.
  /// - Returns: nil if these are not digests, or digests of an unknown version.
  init?(header: Span<UInt8>) {
    guard Self.load(Offset.tag, from: header, as: UInt64.self) == Self.tag,
      Self.load(Offset.version, from: header, as: UInt8.self) == Self.version
    else { return nil }
    count = Int(Self.load(Offset.count, from: header, as: UInt8.self))
    values = (0..<min(count, Self.capacity)).map {
      Self.load(Offset.digests + 16 * $0, from: header)
    }
  }

  /// - Parameter header: 512 bytes whose slots are zeros.
  func store(in header: inout MutableSpan<UInt8>) {
    Self.store(Self.tag, at: Offset.tag, in: &header)
    Self.store(Self.version, at: Offset.version, in: &header)
    Self.store(UInt8(values.count), at: Offset.count, in: &header)
    for (index, value) in values.enumerated() {
      Self.store(value, at: Offset.digests + 16 * index, in: &header)
    }
  }

  private static func load<Value: FixedWidthInteger & UnsignedInteger>(
    _ offset: Int, from header: Span<UInt8>, as type: Value.Type = Value.self
  ) -> Value {
    (0..<Value.bitWidth / 8).reduce(0) { value, index in
      value &<< 8 | Value(truncatingIfNeeded: header[position(offset + index)])
    }
  }

  private static func store(
    _ value: some FixedWidthInteger & UnsignedInteger, at offset: Int,
    in header: inout MutableSpan<UInt8>
  ) {
    let byteCount = value.bitWidth / 8
    for index in 0..<byteCount {
      header[position(offset + index)] = UInt8(
        truncatingIfNeeded: value &>> (8 &* (byteCount &- 1 &- index)))
    }
  }
}
