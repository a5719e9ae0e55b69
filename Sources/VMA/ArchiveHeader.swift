// SPDX-License-Identifier: Apache-2.0

/// A configuration file carried in an archive.
public struct Config: Hashable, Sendable {
  /// The stored name without its NUL: any bytes, not to be trusted as a file name.
  public var name: [UInt8]
  /// At most 65535 bytes.
  public var data: [UInt8]

  public init(name: [UInt8], data: [UInt8]) {
    self.name = name
    self.data = data
  }
}

/// A disk, or the state of a running machine.
public struct Device: Hashable, Sendable {
  /// 1…255; the index in the device table.
  public var id: UInt8
  /// The stored name without its NUL: any bytes, not to be trusted as a file name.
  public var name: [UInt8]
  /// Bytes; a multiple of 512. Of `vmstate` only an estimate, and any number.
  public var size: UInt64

  public init(id: UInt8, name: [UInt8], size: UInt64) {
    self.id = id
    self.name = name
    self.size = size
  }

  /// Whether this is the RAM stream of vma(5), which comes in order and may be longer than `size`.
  public var isVMState: Bool { name == Format.vmstateName }

  /// Clusters that `size` takes, the last perhaps in part.
  public var clusterCount: UInt64 {
    size.dividedRoundingUp(by: UInt64(Format.clusterSize))
  }
}

/// What an archive says of itself before its data: identity, configs, devices.
public struct ArchiveHeader: Hashable, Sendable {
  public var uuid: UUID
  /// Seconds since 1970.
  public var creationTime: Int64
  /// In the order of the config table, which may have had gaps.
  public var configs: [Config]
  /// Ascending by id.
  public var devices: [Device]

  public init(uuid: UUID, creationTime: Int64, configs: [Config], devices: [Device]) {
    self.uuid = uuid
    self.creationTime = creationTime
    self.configs = configs
    self.devices = devices
  }
}

extension UInt64 {
  func addingSaturated(_ other: UInt64) -> UInt64 {
    let (sum, overflows) = addingReportingOverflow(other)
    return overflows ? .max : sum
  }

  /// No `(self + divisor - 1) / divisor`: that overflows for sizes an archive can claim.
  func dividedRoundingUp(by divisor: UInt64) -> UInt64 {
    self / divisor + (self % divisor == 0 ? 0 : 1)
  }
}

// MARK: - Reading

extension ArchiveHeader {
  /// How long a header is, blob buffer included.
  ///
  /// - Parameter fixedPart: the first `Format.fixedHeaderSize` bytes of an archive.
  /// - Returns: bytes, a multiple of 512, at most `Format.maximumHeaderSize`.
  public static func byteCount(fixedPart: Span<UInt8>) throws(FormatError) -> Int {
    guard fixedPart.count >= 4, fixedPart.load(0, as: UInt32.self) == Format.archiveMagic else {
      throw FormatError(.notAnArchive, in: .header, at: 0)
    }
    guard fixedPart.count >= Format.fixedHeaderSize else {
      throw FormatError(
        .truncated(expected: Format.fixedHeaderSize, found: fixedPart.count), in: .header, at: 0)
    }
    let version: UInt32 = fixedPart.load(Format.HeaderOffset.version)
    guard version == Format.version else {
      throw FormatError(
        .unsupportedVersion(version), in: .header, at: UInt64(Format.HeaderOffset.version))
    }
    let size: UInt32 = fixedPart.load(Format.HeaderOffset.headerSize)
    guard size >= Format.fixedHeaderSize, size <= Format.maximumHeaderSize,
      size % UInt32(Format.sectorSize) == 0
    else {
      throw FormatError(.headerSize(size), in: .header, at: UInt64(Format.HeaderOffset.headerSize))
    }
    return Int(size)
  }

  /// Reads a whole header and checks all of it.
  ///
  /// - Parameters:
  ///   - bytes: exactly `byteCount(fixedPart:)` bytes from the start of the archive.
  ///   - digest: an MD5.
  public init(
    parsing bytes: Span<UInt8>, digest: (some MessageDigest).Type
  ) throws(FormatError) {
    guard try Self.byteCount(fixedPart: bytes) == bytes.count else {
      throw FormatError(
        .truncated(
          expected: Int(bytes.load(Format.HeaderOffset.headerSize, as: UInt32.self)),
          found: bytes.count), in: .header, at: 0)
    }
    guard
      digest.digest(of: bytes, zeroing: Format.HeaderOffset.md5)
        == bytes.load(Format.HeaderOffset.md5)
    else {
      throw FormatError(.headerChecksum, in: .header, at: UInt64(Format.HeaderOffset.md5))
    }
    var firstFault: FormatError?
    self.init(entriesOf: bytes, blobs: try BlobBuffer(header: bytes)) { error in
      if firstFault == nil { firstFault = error }
    }
    if let firstFault { throw firstFault }
  }

  /// Reads what can be read of a header whose checksum does not have to be right. Entries that
  /// cannot be are left out; what the others say may be wrong.
  ///
  /// - Parameter bytes: as many as `byteCount(fixedPart:)` says.
  package init(salvaging bytes: Span<UInt8>) {
    let start = Format.fixedHeaderSize
    let whole = BlobBuffer(start: start, size: max(0, bytes.count - start))
    let blobs: BlobBuffer
    do throws(FormatError) { blobs = try BlobBuffer(header: bytes) } catch { blobs = whole }
    self.init(entriesOf: bytes, blobs: blobs) { _ in }
  }

  /// - Parameter reject: is told of each entry that cannot be, and is left out.
  private init(
    entriesOf bytes: Span<UInt8>, blobs: BlobBuffer, reject: (FormatError) -> Void
  ) {
    uuid = UUID(bytes.load(Format.HeaderOffset.uuid))
    creationTime = Int64(
      bitPattern: bytes.load(Format.HeaderOffset.creationTime, as: UInt64.self))
    configs = []
    for index in 0..<Format.maximumConfigCount {
      do throws(FormatError) {
        if let config = try Self.config(index, in: bytes, blobs) { configs.append(config) }
      } catch {
        reject(error)
      }
    }
    devices = []
    for index in 0..<256 {
      do throws(FormatError) {
        if let device = try Self.device(index, in: bytes, blobs) { devices.append(device) }
      } catch {
        reject(error)
      }
    }
  }

  private static func config(
    _ index: Int, in bytes: Span<UInt8>, _ blobs: BlobBuffer
  ) throws(FormatError) -> Config? {
    let nameField = Format.HeaderOffset.configNames + 4 * index
    let dataField = Format.HeaderOffset.configData + 4 * index
    let name: UInt32 = bytes.load(nameField)
    let data: UInt32 = bytes.load(dataField)
    guard name != 0, data != 0 else { return nil }
    return Config(
      name: try blobs.name(at: name, in: bytes, field: nameField),
      data: try blobs.blob(at: data, in: bytes, field: dataField))
  }

  private static func device(
    _ index: Int, in bytes: Span<UInt8>, _ blobs: BlobBuffer
  ) throws(FormatError) -> Device? {
    let field = Format.HeaderOffset.devices + Format.HeaderOffset.deviceStride * index
    let name: UInt32 = bytes.load(field)
    let size: UInt64 = bytes.load(field + Format.HeaderOffset.deviceSize)
    guard name != 0, size != 0 else { return nil }
    guard let id = UInt8(exactly: index), id != 0 else {
      throw FormatError(.deviceZero, in: .header, at: UInt64(field))
    }
    let device = Device(
      id: id, name: try blobs.name(at: name, in: bytes, field: field), size: size)
    guard size <= Format.maximumDeviceSize,
      device.isVMState || size % UInt64(Format.sectorSize) == 0
    else {
      throw FormatError(
        .deviceSize(id: id, size: size), in: .header,
        at: UInt64(field + Format.HeaderOffset.deviceSize))
    }
    return device
  }
}

/// The part of a header that names and data point into.
private struct BlobBuffer {
  let start: Int
  let size: Int

  init(start: Int, size: Int) {
    self.start = start
    self.size = size
  }

  init(header: Span<UInt8>) throws(FormatError) {
    let offset: UInt32 = header.load(Format.HeaderOffset.blobBufferOffset)
    let size: UInt32 = header.load(Format.HeaderOffset.blobBufferSize)
    guard offset >= Format.fixedHeaderSize, offset % UInt32(Format.sectorSize) == 0,
      UInt64(offset) + UInt64(size) <= UInt64(header.count)
    else {
      throw FormatError(
        .blobBuffer(offset: offset, size: size), in: .header,
        at: UInt64(Format.HeaderOffset.blobBufferOffset))
    }
    self.start = Int(offset)
    self.size = Int(size)
  }

  /// - Parameter field: where the header refers to the blob, for the error.
  func blob(
    at offset: UInt32, in header: Span<UInt8>, field: Int
  ) throws(FormatError) -> [UInt8] {
    let outside = FormatError(.blob(offset: offset), in: .header, at: UInt64(field))
    guard Int(offset) + 2 <= size else { throw outside }
    let position = start + Int(offset)
    // Little-endian, unlike all else in the format.
    let length = Int(header[position]) | Int(header[position + 1]) << 8
    guard Int(offset) + 2 + length <= size else { throw outside }
    return header.array(position + 2..<position + 2 + length)
  }

  func name(
    at offset: UInt32, in header: Span<UInt8>, field: Int
  ) throws(FormatError) -> [UInt8] {
    var name = try blob(at: offset, in: header, field: field)
    guard name.popLast() == 0 else {
      throw FormatError(.nameWithoutEnd(offset: offset), in: .header, at: UInt64(field))
    }
    return name
  }
}

// MARK: - Writing

extension ArchiveHeader {
  /// The header as it stands at the start of an archive.
  ///
  /// - Returns: a multiple of 512 bytes.
  /// - Throws: what the format cannot hold: too many configs or devices, a name with a NUL, a blob
  ///   of more than 65535 bytes, a size that is zero, too large or no multiple of 512.
  public func serialized(digest: (some MessageDigest).Type) throws(FormatError) -> [UInt8] {
    func unwritable(_ fault: Fault) -> FormatError { FormatError(fault, in: .header, at: 0) }
    guard configs.count <= Format.maximumConfigCount else {
      throw unwritable(.tooManyConfigs(configs.count))
    }
    guard devices.count <= Format.deviceIDs.count else {
      throw unwritable(.tooManyDevices(devices.count))
    }

    // Byte 0 stays unused, so that offset 0 can mean "none".
    var blobs: [UInt8] = [0]
    func append(_ blob: [UInt8]) throws(FormatError) -> UInt32 {
      guard blob.count <= Format.maximumBlobSize else { throw unwritable(.blobTooLong(blob.count)) }
      let offset = UInt32(blobs.count)
      blobs += [UInt8(blob.count & 0xff), UInt8(blob.count >> 8)]
      blobs += blob
      return offset
    }
    func append(name: [UInt8]) throws(FormatError) -> UInt32 {
      guard !name.contains(0) else { throw unwritable(.nameWithNUL) }
      return try append(name + [0])
    }
    let configOffsets = try configs.map { (config) throws(FormatError) in
      (try append(name: config.name), try append(config.data))
    }
    let deviceOffsets = try devices.map { (device) throws(FormatError) in
      try append(name: device.name)
    }

    // At least 512 bytes of blobs: the reference reader refuses a header without any.
    let blobSectors = (blobs.count + Format.sectorSize - 1) / Format.sectorSize
    let size = Format.fixedHeaderSize + blobSectors * Format.sectorSize
    var bytes = [UInt8](repeating: 0, count: Format.fixedHeaderSize)
    bytes.reserveCapacity(size)
    bytes += blobs
    bytes += repeatElement(0, count: size - bytes.count)

    var span = bytes.mutableSpan
    span.store(Format.archiveMagic, at: Format.HeaderOffset.magic)
    span.store(Format.version, at: Format.HeaderOffset.version)
    span.store(uuid.value, at: Format.HeaderOffset.uuid)
    span.store(UInt64(bitPattern: creationTime), at: Format.HeaderOffset.creationTime)
    span.store(UInt32(Format.fixedHeaderSize), at: Format.HeaderOffset.blobBufferOffset)
    span.store(UInt32(blobs.count), at: Format.HeaderOffset.blobBufferSize)
    span.store(UInt32(size), at: Format.HeaderOffset.headerSize)
    for (index, offsets) in configOffsets.enumerated() {
      span.store(offsets.0, at: Format.HeaderOffset.configNames + 4 * index)
      span.store(offsets.1, at: Format.HeaderOffset.configData + 4 * index)
    }
    var ids: Set<UInt8> = []
    for (device, name) in zip(devices, deviceOffsets) {
      guard Format.deviceIDs.contains(device.id) else {
        throw unwritable(.unknownDevice(device.id))
      }
      guard ids.insert(device.id).inserted else { throw unwritable(.deviceTwice(device.id)) }
      guard (1...Format.maximumDeviceSize).contains(device.size),
        device.size % UInt64(Format.sectorSize) == 0
      else { throw unwritable(.deviceSize(id: device.id, size: device.size)) }
      let field = Format.HeaderOffset.devices + Format.HeaderOffset.deviceStride * Int(device.id)
      span.store(name, at: field)
      span.store(device.size, at: field + Format.HeaderOffset.deviceSize)
    }
    let checksum = digest.digest(of: span.span, zeroing: Format.HeaderOffset.md5)
    span.store(checksum, at: Format.HeaderOffset.md5)
    return bytes
  }
}
