// SPDX-License-Identifier: Apache-2.0

/// The part of a header that contains the names and the data of configs.
struct BlobBuffer {
  private let start: Int
  private let size: Int

  /// Everything after the tables, whatever the header says about it.
  init(allOf header: Span<UInt8>) {
    start = VMAFormat.fixedHeaderSize
    size = max(0, header.count - start)
  }

  init(header: Span<UInt8>) throws(FormatError) {
    let offset: UInt32 = header.load(VMAFormat.HeaderOffset.blobBufferOffset)
    let size: UInt32 = header.load(VMAFormat.HeaderOffset.blobBufferSize)
    guard offset >= VMAFormat.fixedHeaderSize, offset % UInt32(VMAFormat.sectorSize) == 0,
      UInt64(offset) + UInt64(size) <= UInt64(header.count)
    else {
      throw FormatError(
        .blob, "blob buffer of \(size) bytes at \(offset) is not inside the header",
        byte: UInt64(VMAFormat.HeaderOffset.blobBufferOffset))
    }
    self.start = Int(offset)
    self.size = Int(size)
  }

  /// - Parameter field: where the header refers to the blob, for the error.
  func blob(
    at offset: UInt32, in header: Span<UInt8>, field: Int
  ) throws(FormatError) -> [UInt8] {
    let outside = FormatError(
      .blob, "blob at offset \(offset) is not inside the blob buffer", byte: UInt64(field))
    guard Int(offset) + 2 <= size else { throw outside }
    let position = start + Int(offset)
    // Little-endian, unlike everything else in the format.
    let length = Int(header[position]) | Int(header[position + 1]) << 8
    guard Int(offset) + 2 + length <= size else { throw outside }
    return header.array(position + 2..<position + 2 + length)
  }

  func name(
    at offset: UInt32, in header: Span<UInt8>, field: Int
  ) throws(FormatError) -> [UInt8] {
    var name = try blob(at: offset, in: header, field: field)
    guard name.popLast() == 0 else {
      throw FormatError(
        .name, "name at blob offset \(offset) does not end with NUL", byte: UInt64(field))
    }
    return name
  }
}
