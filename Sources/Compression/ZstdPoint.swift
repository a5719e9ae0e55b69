// SPDX-License-Identifier: Apache-2.0

/// A position in zstd data where decoding can start.
package struct ZstdPoint: Sendable, Equatable {
  /// The position of a frame, or of a block of a frame, in the file.
  package var stored: UInt64
  /// Its position in the content.
  package var content: UInt64
  /// The window of the frame, as the byte of RFC 8878, section 3.1.1.1.2; nil if a frame starts here.
  package var windowByte: UInt8?
  /// The content before the point that decoding needs: where it is in the index, as a zstd frame, and
  /// its size when decoded.
  package var history = IndexFrame()
  /// XXH3-128 of the content up to the next point, or to the end.
  package var digest: UInt128 = 0

  /// The least window byte for a window of this many bytes.
  static func windowByte(for window: UInt64) -> UInt8 {
    for byte in UInt8.min ... .max where self.window(byte) >= window { return byte }
    return .max
  }

  /// The window in bytes.
  static func window(_ byte: UInt8) -> UInt64 {
    let base = UInt64(1) << (10 + UInt64(byte >> 3))
    return base + base / 8 * UInt64(byte & 7)
  }
}
