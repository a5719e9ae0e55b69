// SPDX-License-Identifier: Apache-2.0

import System

/// The seek table of zstd's seekable format: a skippable frame after all others.
///
/// Per frame: compressed size, content size, and the low 32 bits of the XXH64 of the content, which are
/// also the frame's own checksum. All integers are little-endian and have four bytes.
struct SeekTable {
  private static let magic: UInt32 = 0x184d_2a5e
  private static let footerMagic: UInt32 = 0x8f92_eab1
  private static let largestFrameCount = 1 << 27
  private static let checksumFlag: UInt8 = 0x80

  private var entries: [UInt8] = []
  private var frameCount = 0

  mutating func append(
    compressedSize: Int, contentSize: Int, checksum: UInt32
  ) throws(Failure) {
    guard frameCount < Self.largestFrameCount else {
      throw Failure(
        .general, "zstd: more than \(Self.largestFrameCount) frames (use a larger --frame-size)")
    }
    frameCount += 1
    for field in [UInt32(compressedSize), UInt32(contentSize), checksum] {
      Self.append(field, to: &entries)
    }
  }

  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(entries.count + 17)
    Self.append(Self.magic, to: &bytes)
    Self.append(UInt32(entries.count + 9), to: &bytes)
    bytes += entries
    Self.append(UInt32(frameCount), to: &bytes)
    bytes.append(Self.checksumFlag)
    Self.append(Self.footerMagic, to: &bytes)
    return bytes
  }

  private static func append(_ field: UInt32, to bytes: inout [UInt8]) {
    for shift in stride(from: 0, to: 32, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: field >> UInt32(shift)))
    }
  }
}
