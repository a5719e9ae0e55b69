// SPDX-License-Identifier: Apache-2.0

import System

/// The header of a zstd frame (RFC 8878, section 3.1.1.1).
struct ZstdFrameHeader {
  static let magic: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd]
  /// The maximum size of a header.
  static let largestSize = 18

  /// Bytes of the header, with its magic.
  let size: Int
  let windowSize: UInt64
  /// Bytes of the decoded frame, if the header states them.
  let contentSize: UInt64?
  let hasChecksum: Bool

  /// What the start of some bytes is.
  enum Parsed {
    case header(ZstdFrameHeader)
    /// This many bytes are needed to decide.
    case needs(Int)
    case other
  }

  static func parse(_ bytes: Span<UInt8>) -> Parsed {
    guard bytes.count >= 5 else { return .needs(5) }
    guard magic.indices.allSatisfy({ bytes[$0] == magic[$0] }) else { return .other }
    let descriptor = bytes[4]
    let isSingleSegment = descriptor & 0x20 != 0
    let sizeField = [isSingleSegment ? 1 : 0, 2, 4, 8][Int(descriptor >> 6)]
    let sizeStart = 5 + (isSingleSegment ? 0 : 1) + [0, 1, 2, 4][Int(descriptor & 3)]
    let size = sizeStart + sizeField
    guard bytes.count >= size else { return .needs(size) }
    var contentSize: UInt64?
    if sizeField > 0 {
      let value = bytes.littleEndian(sizeStart..<size)
      contentSize = sizeField == 2 ? value + 256 : value
    }
    // Of a single segment, the window is the content.
    let base = UInt64(1) << (10 + UInt64(bytes[5] >> 3))
    let window = isSingleSegment ? contentSize ?? 0 : base + base / 8 * UInt64(bytes[5] & 7)
    return .header(
      ZstdFrameHeader(
        size: size, windowSize: window, contentSize: contentSize,
        hasChecksum: descriptor & 4 != 0))
  }
}
