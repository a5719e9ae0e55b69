// SPDX-License-Identifier: Apache-2.0

// The text between the two marks is in Sources/VMA/VMA.docc, and a test compares.
// snippet.begin
import VMA

/// Finds the blocks of one device in a seekable archive, without reading any other data.
func blocks(
  of device: UInt8, digest: any MessageDigest.Type,
  read: (_ byte: UInt64, _ count: Int) throws -> [UInt8]
) throws -> [(place: UInt64, offset: UInt64, length: Int)] {
  var parser = ArchiveParser(digest: digest)
  var found: [(place: UInt64, offset: UInt64, length: Int)] = []
  while true {
    let bytes = try read(parser.position, parser.neededCount)
    if bytes.isEmpty { break }
    var index = 0
    guard case .extent(let extent) = try parser.next(in: bytes.span, from: &index) else { continue }
    extent.forEachPiece { piece in
      guard piece.device == device, let position = piece.position else { return }
      found.append((extent.dataByte + UInt64(position), piece.offset, piece.length))
    }
    parser.skipData()
  }
  try parser.finish()
  return found
}
// snippet.end
