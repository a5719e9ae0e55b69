// SPDX-License-Identifier: Apache-2.0

extension ArchiveHeader {
  /// The length of a header, including its blob buffer.
  ///
  /// - Parameter prefix: the first bytes of an archive, any number of them.
  /// - Returns: bytes, a multiple of 512, at most `VMAFormat.maximumHeaderSize`; nil if more bytes
  ///   are needed to determine it.
  package static func byteCount(prefix: Span<UInt8>) throws(FormatError) -> Int? {
    for index in 0..<min(4, prefix.count)
    where prefix[index] != UInt8(truncatingIfNeeded: VMAFormat.archiveMagic >> (24 - 8 * index)) {
      throw FormatError(.notAnArchive, "not a VMA archive", byte: 0)
    }
    guard prefix.count >= VMAFormat.HeaderOffset.headerSize + 4 else { return nil }
    let version: UInt32 = prefix.load(VMAFormat.HeaderOffset.version)
    guard version == VMAFormat.version else {
      throw FormatError(
        .version, "VMA version \(version) is not supported",
        byte: UInt64(VMAFormat.HeaderOffset.version))
    }
    let size: UInt32 = prefix.load(VMAFormat.HeaderOffset.headerSize)
    guard size >= VMAFormat.fixedHeaderSize, size <= VMAFormat.maximumHeaderSize,
      size % UInt32(VMAFormat.sectorSize) == 0
    else {
      throw FormatError(
        .headerSize, "invalid header size \(size)", byte: UInt64(VMAFormat.HeaderOffset.headerSize))
    }
    return Int(size)
  }

  /// Reads and checks a complete header.
  ///
  /// - Parameter bytes: as many as `byteCount(prefix:)` says, from the start of the archive.
  package init(
    parsing bytes: Span<UInt8>, digest: any MessageDigest.Type
  ) throws(FormatError) {
    let size = try Self.byteCount(prefix: bytes) ?? VMAFormat.fixedHeaderSize
    guard size == bytes.count else {
      throw .truncated(bytes.count, of: size, byte: 0, extent: nil)
    }
    guard
      digest.digest(of: bytes, zeroing: VMAFormat.HeaderOffset.md5)
        == bytes.load(VMAFormat.HeaderOffset.md5)
    else {
      throw FormatError(
        .headerChecksum, "header checksum mismatch", byte: UInt64(VMAFormat.HeaderOffset.md5))
    }
    var firstFault: FormatError?
    self.init(entriesOf: bytes, blobs: try BlobBuffer(header: bytes)) { error in
      if firstFault == nil { firstFault = error }
    }
    if let firstFault { throw firstFault }
  }

  /// Reads as much as possible of a header whose checksum may be wrong. Invalid entries are
  /// skipped; the others may contain wrong values.
  ///
  /// - Parameter bytes: as many as `byteCount(prefix:)` says.
  init(salvaging bytes: Span<UInt8>) {
    let blobs: BlobBuffer
    do throws(FormatError) {
      blobs = try BlobBuffer(header: bytes)
    } catch {
      blobs = BlobBuffer(allOf: bytes)
    }
    self.init(entriesOf: bytes, blobs: blobs) { _ in }
  }

  /// - Parameter reject: called for each invalid entry, which is skipped.
  private init(
    entriesOf bytes: Span<UInt8>, blobs: BlobBuffer, reject: (FormatError) -> Void
  ) {
    uuid = UUID(bytes.load(VMAFormat.HeaderOffset.uuid))
    creationTime = Int64(
      bitPattern: bytes.load(VMAFormat.HeaderOffset.creationTime, as: UInt64.self))
    configs = []
    for index in 0..<VMAFormat.maximumConfigCount {
      do throws(FormatError) {
        if let config = try Self.config(index, in: bytes, blobs) { configs.append(config) }
      } catch {
        reject(error)
      }
    }
    devices = []
    for id in UInt8.min...UInt8.max {
      do throws(FormatError) {
        if let device = try Self.device(id, in: bytes, blobs) { devices.append(device) }
      } catch {
        reject(error)
      }
    }
  }

  private static func config(
    _ index: Int, in bytes: Span<UInt8>, _ blobs: BlobBuffer
  ) throws(FormatError) -> Config? {
    let nameField = VMAFormat.HeaderOffset.configNames + 4 * index
    let dataField = VMAFormat.HeaderOffset.configData + 4 * index
    let name: UInt32 = bytes.load(nameField)
    let data: UInt32 = bytes.load(dataField)
    guard name != 0, data != 0 else { return nil }
    return Config(
      name: try blobs.name(at: name, in: bytes, field: nameField),
      data: try blobs.blob(at: data, in: bytes, field: dataField))
  }

  private static func device(
    _ id: UInt8, in bytes: Span<UInt8>, _ blobs: BlobBuffer
  ) throws(FormatError) -> Device? {
    let field = VMAFormat.HeaderOffset.devices + VMAFormat.HeaderOffset.deviceStride * Int(id)
    let name: UInt32 = bytes.load(field)
    let size: UInt64 = bytes.load(field + VMAFormat.HeaderOffset.deviceSize)
    guard name != 0, size != 0 else { return nil }
    let device = Device(
      id: id, name: try blobs.name(at: name, in: bytes, field: field), size: size)
    try device.check(byte: UInt64(field))
    return device
  }
}
