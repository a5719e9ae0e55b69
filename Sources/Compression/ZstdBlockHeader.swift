// SPDX-License-Identifier: Apache-2.0

/// The header of a block in a frame of zstd (RFC 8878, section 3.1.1.2).
struct ZstdBlockHeader {
  static let size = 3
  /// The maximum content of a block in bytes.
  static let largestContent = 1 << 17

  let isLast: Bool
  /// The size of the block in bytes, with this header.
  let storedSize: Int
  /// The content is at most this many bytes.
  let contentBound: Int

  /// - Parameter bytes: at least 3.
  /// - Returns: nil if the header is damaged.
  init?(_ bytes: Span<UInt8>) {
    let field = Int(bytes.littleEndian(0..<Self.size))
    let (type, size) = (field >> 1 & 3, field >> 3)
    guard type != 3, size <= Self.largestContent else { return nil }
    isLast = field & 1 == 1
    // Type 1 repeats a byte, and type 2 is compressed.
    storedSize = Self.size + (type == 1 ? 1 : size)
    contentBound = type == 2 ? Self.largestContent : size
  }
}
