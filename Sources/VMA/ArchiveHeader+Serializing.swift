// SPDX-License-Identifier: Apache-2.0

extension ArchiveHeader {
  /// The bytes of the header, a multiple of 512.
  ///
  /// - Throws: if the format cannot hold the header. A header that was read can also be written,
  ///   unless a name contains a NUL.
  package func serialized(digest: any MessageDigest.Type) throws(FormatError) -> [UInt8] {
    guard configs.count <= VMAFormat.maximumConfigCount else {
      throw FormatError(
        .configCount,
        "\(configs.count) configs; an archive holds at most \(VMAFormat.maximumConfigCount)")
    }
    try checkDevices()

    // Byte 0 stays unused, so that offset 0 can mean "none".
    var blobs: [UInt8] = [0]
    func append(_ blob: [UInt8]) throws(FormatError) -> UInt32 {
      guard blob.count <= VMAFormat.maximumBlobSize else {
        throw FormatError(
          .blobSize,
          "a name or config of \(blob.count) bytes; at most \(VMAFormat.maximumBlobSize) fit")
      }
      let offset = UInt32(blobs.count)
      blobs += [UInt8(blob.count & 0xff), UInt8(blob.count >> 8)]
      blobs += blob
      return offset
    }
    func append(name: [UInt8]) throws(FormatError) -> UInt32 {
      // Other readers end a name at its first NUL.
      guard !name.contains(0) else { throw FormatError(.name, "a name contains a NUL") }
      return try append(name + [0])
    }
    let configOffsets = try configs.map { (config) throws(FormatError) in
      (try append(name: config.name), try append(config.data))
    }
    let deviceOffsets = try devices.map { (device) throws(FormatError) in
      try append(name: device.name)
    }

    // At least 512 bytes of blobs: the reference reader refuses a header without any.
    let size =
      VMAFormat.fixedHeaderSize + blobs.count.roundedUp(toMultipleOf: VMAFormat.sectorSize)
    var bytes = [UInt8](repeating: 0, count: VMAFormat.fixedHeaderSize)
    bytes.reserveCapacity(size)
    bytes += blobs
    bytes += repeatElement(0, count: size - bytes.count)

    var span = bytes.mutableSpan
    span.store(VMAFormat.archiveMagic, at: VMAFormat.HeaderOffset.magic)
    span.store(VMAFormat.version, at: VMAFormat.HeaderOffset.version)
    span.store(uuid.value, at: VMAFormat.HeaderOffset.uuid)
    span.store(UInt64(bitPattern: creationTime), at: VMAFormat.HeaderOffset.creationTime)
    span.store(UInt32(VMAFormat.fixedHeaderSize), at: VMAFormat.HeaderOffset.blobBufferOffset)
    span.store(UInt32(blobs.count), at: VMAFormat.HeaderOffset.blobBufferSize)
    span.store(UInt32(size), at: VMAFormat.HeaderOffset.headerSize)
    for (index, offsets) in configOffsets.enumerated() {
      span.store(offsets.0, at: VMAFormat.HeaderOffset.configNames + 4 * index)
      span.store(offsets.1, at: VMAFormat.HeaderOffset.configData + 4 * index)
    }
    for (device, name) in zip(devices, deviceOffsets) {
      let field =
        VMAFormat.HeaderOffset.devices + VMAFormat.HeaderOffset.deviceStride * Int(device.id)
      span.store(name, at: field)
      span.store(device.size, at: field + VMAFormat.HeaderOffset.deviceSize)
    }
    let checksum = digest.digest(of: span.span, zeroing: VMAFormat.HeaderOffset.md5)
    span.store(checksum, at: VMAFormat.HeaderOffset.md5)
    return bytes
  }

  private func checkDevices() throws(FormatError) {
    var ids: Set<UInt8> = []
    for device in devices {
      try device.check()
      guard ids.insert(device.id).inserted else {
        throw FormatError(.deviceID, "two devices have the id \(device.id)")
      }
    }
  }
}
