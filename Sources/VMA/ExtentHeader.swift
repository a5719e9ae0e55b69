// SPDX-License-Identifier: Apache-2.0

/// The 512 bytes before the blocks of an extent: which clusters they belong to.
public struct ExtentHeader: Hashable, Sendable {
  /// The slots in use, in order; at most 59.
  public private(set) var slots: [Slot]
  /// Blocks that follow this header; at most 944.
  public private(set) var blockCount: Int
  /// The number of the extent in its archive, counted from 0.
  public private(set) var number: Int
  /// Where this header starts in its archive, in bytes.
  public private(set) var byte: UInt64
  /// The digests of extents before this one, if this extent holds digests instead of clusters.
  public private(set) var digests: ExtentDigests?

  /// - Throws: `FormatError` for more than 59 slots, and for a slot of device 0 (which marks unused
  ///   slots) or 255.
  public init(slots: [Slot]) throws(FormatError) {
    guard slots.count <= VMAFormat.slotsPerExtent else {
      throw FormatError(
        .slotCount,
        "\(slots.count) clusters; an extent holds at most \(VMAFormat.slotsPerExtent)")
    }
    for slot in slots where !VMAFormat.deviceIDs.contains(slot.device) {
      throw FormatError(.unknownDevice, "device \(slot.device) does not exist")
    }
    self.init(checked: slots)
  }

  /// - Parameter slots: at most 59, of valid devices.
  init(
    checked slots: [Slot], number: Int = 0, byte: UInt64 = 0, digests: ExtentDigests? = nil
  ) {
    self.slots = slots
    self.number = number
    self.byte = byte
    self.digests = digests
    blockCount = slots.reduce(0) { $0 + $1.mask.nonzeroBitCount }
  }

  /// An extent without clusters.
  package init() {
    self.init(checked: [])
  }

  /// Bytes of the blocks that follow this header.
  public var dataSize: Int { blockCount * VMAFormat.blockSize }

  /// Where the blocks start in the archive, in bytes.
  public var dataByte: UInt64 { byte + UInt64(VMAFormat.extentHeaderSize) }

  /// The same header with only those slots for which `isKept` returns true.
  package func filter(_ isKept: (Slot) -> Bool) -> ExtentHeader {
    ExtentHeader(checked: slots.filter(isKept), number: number, byte: byte)
  }
}

// MARK: - Reading and writing

extension ExtentHeader {
  /// Reads an extent header and checks everything that does not depend on the archive's header.
  ///
  /// - Parameters:
  ///   - bytes: 512 bytes; fewer at the end of a truncated archive.
  ///   - uuid: of the archive.
  ///   - number: of the extent, counted from 0.
  ///   - byte: where the header starts in the archive.
  package init(
    parsing bytes: Span<UInt8>, uuid: ArchiveHeader.UUID, digest: any MessageDigest.Type,
    number: Int = 0, byte: UInt64 = 0
  ) throws(FormatError) {
    func fault(_ code: FormatError.Code, _ message: String) -> FormatError {
      FormatError(code, message, byte: byte, extent: number)
    }
    guard bytes.count >= 4, bytes.load(VMAFormat.ExtentOffset.magic) == VMAFormat.extentMagic else {
      throw fault(.notAnExtent, "extent header expected, other data found")
    }
    guard bytes.count == VMAFormat.extentHeaderSize else {
      throw .truncated(
        bytes.count, of: VMAFormat.extentHeaderSize, byte: byte, extent: number)
    }
    guard
      digest.digest(of: bytes, zeroing: VMAFormat.ExtentOffset.md5)
        == bytes.load(VMAFormat.ExtentOffset.md5)
    else { throw fault(.extentChecksum, "header checksum mismatch") }
    guard ArchiveHeader.UUID(bytes.load(VMAFormat.ExtentOffset.uuid)) == uuid else {
      throw fault(.foreignExtent, "extent of another archive (UUID differs)")
    }
    let claimed = Int(bytes.load(VMAFormat.ExtentOffset.blockCount, as: UInt16.self))
    guard claimed <= VMAFormat.blocksPerExtent else {
      throw fault(.blockCount, "invalid block count \(claimed)")
    }

    self.number = number
    self.byte = byte
    slots = []
    slots.reserveCapacity(VMAFormat.slotsPerExtent)
    blockCount = 0
    for index in 0..<VMAFormat.slotsPerExtent {
      let field = VMAFormat.ExtentOffset.slots &+ VMAFormat.ExtentOffset.slotStride &* index
      let info: UInt64 = bytes.load(field)
      let slot = Slot(
        device: UInt8(truncatingIfNeeded: info &>> 32),
        cluster: UInt32(truncatingIfNeeded: info),
        mask: UInt16(truncatingIfNeeded: info &>> 48))
      guard slot.device != 0 else { continue }
      guard VMAFormat.deviceIDs.contains(slot.device) else {
        throw fault(.unknownDevice, "device \(slot.device) does not exist")
      }
      slots.append(slot)
      blockCount &+= slot.mask.nonzeroBitCount
    }
    guard blockCount == claimed else {
      throw fault(.blockCount, "block count is \(claimed), but \(blockCount) blocks are marked")
    }
    digests = slots.isEmpty ? ExtentDigests(header: bytes) : nil
  }

  /// Whether these 512 bytes can be a valid extent header, apart from their checksum. This is fast
  /// enough to test at every byte, even of data that is full of the magic.
  ///
  /// - Parameter uuid: of the archive; nil if it is not known.
  package static func isPlausible(_ bytes: Span<UInt8>, uuid: ArchiveHeader.UUID?) -> Bool {
    guard bytes.count == VMAFormat.extentHeaderSize,
      bytes.load(VMAFormat.ExtentOffset.magic) == VMAFormat.extentMagic,
      uuid.map({ self.uuid(of: bytes) == $0 }) ?? true
    else { return false }
    let claimed = Int(bytes.load(VMAFormat.ExtentOffset.blockCount, as: UInt16.self))
    guard claimed <= VMAFormat.blocksPerExtent else { return false }
    var marked = 0
    for index in 0..<VMAFormat.slotsPerExtent {
      let field = VMAFormat.ExtentOffset.slots &+ VMAFormat.ExtentOffset.slotStride &* index
      let info: UInt64 = bytes.load(field)
      if info &>> 32 & 0xff != 0 { marked &+= (info &>> 48).nonzeroBitCount }
      if marked > claimed { return false }
    }
    return marked == claimed
  }

  /// The archive that these 512 bytes claim to belong to.
  package static func uuid(of bytes: Span<UInt8>) -> ArchiveHeader.UUID {
    ArchiveHeader.UUID(bytes.load(VMAFormat.ExtentOffset.uuid))
  }

  /// Whether these bytes were meant as an extent header of the archive, valid or not, complete or
  /// not. Other archives, and the data of disks, can contain the magic, but hardly the UUID.
  package static func resembles(_ bytes: Span<UInt8>, uuid: ArchiveHeader.UUID) -> Bool {
    bytes.count >= VMAFormat.ExtentOffset.uuid + 16 && self.uuid(of: bytes) == uuid
  }

  /// The 512 bytes of the header.
  ///
  /// - Parameter uuid: of the archive.
  package func serialized(
    uuid: ArchiveHeader.UUID, digest: any MessageDigest.Type
  ) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: VMAFormat.extentHeaderSize)
    var header = bytes.mutableSpan
    header.store(VMAFormat.extentMagic, at: VMAFormat.ExtentOffset.magic)
    header.store(UInt16(blockCount), at: VMAFormat.ExtentOffset.blockCount)
    header.store(uuid.value, at: VMAFormat.ExtentOffset.uuid)
    for (index, slot) in slots.enumerated() {
      header.store(
        UInt64(slot.mask) << 48 | UInt64(slot.device) << 32 | UInt64(slot.cluster),
        at: VMAFormat.ExtentOffset.slots + VMAFormat.ExtentOffset.slotStride * index)
    }
    digests?.store(in: &header)
    let checksum = digest.digest(of: header.span, zeroing: VMAFormat.ExtentOffset.md5)
    header.store(checksum, at: VMAFormat.ExtentOffset.md5)
    return bytes
  }
}
