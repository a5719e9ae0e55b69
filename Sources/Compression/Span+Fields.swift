// SPDX-License-Identifier: Apache-2.0

import CZlib

extension Span<UInt8> {
  /// An integer of at most eight bytes.
  func littleEndian(_ range: Range<Int>) -> UInt64 {
    range.reversed().reduce(0) { $0 << 8 | UInt64(self[$1]) }
  }

  /// An integer of at most eight bytes.
  func bigEndian(_ range: Range<Int>) -> UInt64 {
    range.reduce(0) { $0 << 8 | UInt64(self[$1]) }
  }
}

extension Span<UInt8> {
  /// CRC-32, or Adler-32.
  func checksum(isCRC: Bool) -> UInt32 {
    unsafe withUnsafeBufferPointer { bytes in
      let code =
        isCRC
        ? unsafe crc32(0, bytes.baseAddress, UInt32(bytes.count))
        : unsafe adler32(1, bytes.baseAddress, UInt32(bytes.count))
      return UInt32(truncatingIfNeeded: code)
    }
  }
}
