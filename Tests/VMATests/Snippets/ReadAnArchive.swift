// SPDX-License-Identifier: Apache-2.0

// The text between the two marks is in Sources/VMA/VMA.docc, and a test compares.
// snippet.begin
import VMA

/// Reads an archive from chunks of any size and passes on the data of its disks.
func readArchive(
  _ chunks: some Sequence<[UInt8]>, digest: any MessageDigest.Type,
  write: (_ device: UInt8, _ offset: UInt64, _ data: ArraySlice<UInt8>) throws -> Void
) throws {
  var parser = ArchiveParser(digest: digest)
  for bytes in chunks {
    var index = 0
    while let event = try parser.next(in: bytes.span, from: &index) {
      switch event {
      case .header(let header): print(header.devices.count, "devices")
      case .extent: break
      case .data(let device, let offset, let range): try write(device, offset, bytes[range])
      case .zeros: break  // What was never written to a new file is zero.
      }
    }
  }
  try parser.finish()
}
// snippet.end
