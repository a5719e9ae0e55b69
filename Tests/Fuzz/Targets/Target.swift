// SPDX-License-Identifier: Apache-2.0

/// A property that an input violates.
public struct Violation: Error, CustomStringConvertible {
  public var description: String
}

/// Code that receives arbitrary bytes and must keep its properties.
public struct Target: Sendable {
  public var name: String
  /// - Throws: `Violation`. An input that is refused is not a violation.
  public var run: @Sendable ([UInt8]) throws -> Void

  public static let all = [
    header, extents, archive, events, decompression, index, config, options, qmp, nbd,
  ]

  public static func named(_ name: String) -> Target? { all.first { $0.name == name } }
}

func require(_ condition: Bool, _ promise: @autoclosure () -> String) throws {
  if !condition { throw Violation(description: promise()) }
}

/// Reads an input as a sequence of choices. After its end all choices are 0.
struct Choices {
  private var bytes: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { self.bytes = bytes[...] }

  var isEmpty: Bool { bytes.isEmpty }

  mutating func byte() -> UInt8 { bytes.popFirst() ?? 0 }

  mutating func integer<Value: FixedWidthInteger & UnsignedInteger>(
    _ type: Value.Type = Value.self
  ) -> Value {
    (0..<Value.bitWidth / 8).reduce(0) { value, _ in value << 8 | Value(byte()) }
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    let part = Array(bytes.prefix(count))
    bytes = bytes.dropFirst(count)
    return part
  }

  mutating func rest() -> [UInt8] { bytes(bytes.count) }

  /// A special number: small, or near a power of two.
  mutating func number() -> UInt64 {
    let kind = byte()
    if kind < 128 { return UInt64(kind) }
    if kind < 160 { return UInt64(integer(UInt16.self)) }
    if kind == 160 { return integer() }
    let power = UInt64(1) << UInt64((kind - 160) % 64)
    return power &+ UInt64(byte()) &- 128
  }
}
