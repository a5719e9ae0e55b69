// SPDX-License-Identifier: Apache-2.0

import Archives
import TestSupport
import Testing
import VMA

/// Bytes in hexadecimal, optionally separated by spaces.
func hex(_ text: String) -> [UInt8] {
  let digits = text.filter { !$0.isWhitespace }.compactMap(\.hexDigitValue)
  return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

func parse(_ bytes: [UInt8]) throws(FormatError) -> ArchiveHeader {
  try ArchiveHeader(parsing: bytes.span, digest: MD5.self)
}

func parseExtent(_ bytes: [UInt8], uuid: ArchiveHeader.UUID) throws(FormatError) -> ExtentHeader {
  try ExtentHeader(parsing: bytes.span, uuid: uuid, digest: MD5.self)
}

func serialize(_ header: ExtentHeader, uuid: ArchiveHeader.UUID) -> [UInt8] {
  header.serialized(uuid: uuid, digest: MD5.self)
}

/// The bytes with a correct checksum, as an attacker would create it.
func resealed(_ bytes: [UInt8], md5At offset: Int) -> [UInt8] {
  var bytes = bytes
  for index in 0..<16 { bytes[offset + index] = 0 }
  var digest = MD5()
  digest.update(bytes.span)
  let sum = digest.finish()
  for index in 0..<16 {
    bytes[offset + index] = UInt8(truncatingIfNeeded: sum >> (8 * (15 - UInt128(index))))
  }
  return bytes
}
