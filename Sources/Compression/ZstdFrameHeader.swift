// SPDX-License-Identifier: Apache-2.0

import System

/// The header of a frame of zstd (RFC 8878, section 3.1.1.1).
struct ZstdFrameHeader {
  static let magic: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd]

  /// The maximum of `size`.
  static let largestSize = 18

  /// Its own size in bytes, with the magic.
  let size: Int
  /// Bytes of content that the decoder has to keep.
  let window: UInt64
  /// In bytes; nil if the header does not contain it. Nothing proves it before the frame is decoded.
  let contentSize: UInt64?
  /// Whether a checksum of the content follows the blocks.
  let hasChecksum: Bool

  /// What starts at a position.
  enum Start {
    case header(ZstdFrameHeader)
    /// This many bytes are needed to decide.
    case needs(Int)
    /// Something else.
    case nothing
  }

  static func parse(_ bytes: Span<UInt8>) -> Start {
    guard bytes.count >= 5 else { return .needs(5) }
    guard magic.indices.allSatisfy({ bytes[$0] == magic[$0] }) else { return .nothing }
    let descriptor = bytes[4]
    let isSingleSegment = descriptor & 0x20 != 0
    let sizeField = [isSingleSegment ? 1 : 0, 2, 4, 8][Int(descriptor >> 6)]
    let sizeStart = 5 + (isSingleSegment ? 0 : 1) + [0, 1, 2, 4][Int(descriptor & 3)]
    let end = sizeStart + sizeField
    guard bytes.count >= end else { return .needs(end) }
    let contentSize =
      bytes.littleEndian(sizeStart..<end) + (sizeField == 2 ? 256 : 0)
    let window: UInt64
    if isSingleSegment {
      window = contentSize
    } else {
      let base = UInt64(1) << (10 + UInt64(bytes[5] >> 3))
      window = base + base / 8 * UInt64(bytes[5] & 7)
    }
    return .header(
      ZstdFrameHeader(
        size: end, window: window, contentSize: sizeField == 0 ? nil : contentSize,
        hasChecksum: descriptor & 4 != 0))
  }
}
