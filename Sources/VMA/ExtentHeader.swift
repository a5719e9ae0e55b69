// SPDX-License-Identifier: Apache-2.0

/// One cluster in an extent.
public struct Slot: Hashable, Sendable {
  /// 1…255.
  public var device: UInt8
  /// The cluster's place on the device, in units of 64 KiB.
  public var cluster: UInt32
  /// Bit j set: block j of the cluster (4 KiB each) is stored; otherwise it is all zeros.
  public var mask: UInt16

  public init(device: UInt8, cluster: UInt32, mask: UInt16) {
    self.device = device
    self.cluster = cluster
    self.mask = mask
  }
}

/// A piece of a device that an extent tells of: stored bytes, or zeros.
public struct Piece: Hashable, Sendable {
  public var device: UInt8
  /// Bytes from the start of the device; a multiple of 4096.
  public var offset: UInt64
  /// Bytes; a multiple of 4096.
  public var length: Int
  /// Where the bytes lie among the extent's blocks, in bytes; nil for zeros.
  public var position: Int?

  public init(device: UInt8, offset: UInt64, length: Int, position: Int?) {
    self.device = device
    self.offset = offset
    self.length = length
    self.position = position
  }
}

/// The 512 bytes before the blocks of an extent: which clusters they belong to.
public struct ExtentHeader: Hashable, Sendable {
  /// The slots in use, in order; at most 59.
  public private(set) var slots: [Slot]
  /// Blocks that follow this header; at most 944.
  public private(set) var blockCount: Int

  /// - Throws: `Fault` for more than 59 slots, and for one of device 0, which marks a slot as unused.
  public init(checking slots: [Slot]) throws(Fault) {
    guard slots.count <= Format.slotsPerExtent else { throw .tooManySlots(slots.count) }
    guard !slots.contains(where: { $0.device == 0 }) else { throw .unknownDevice(0) }
    self.init(slots: slots)
  }

  /// - Parameter slots: at most 59.
  package init(slots: [Slot]) {
    precondition(slots.count <= Format.slotsPerExtent)
    self.slots = slots
    blockCount = slots.reduce(0) { $0 + $1.mask.nonzeroBitCount }
  }

  /// Bytes of the blocks that follow this header.
  public var dataSize: Int { blockCount * Format.blockSize }

  /// Calls `body` for each piece, in the order of the stored blocks; neighbours on the device are
  /// joined, so that a run of full clusters is one piece.
  @inlinable
  public func forEachPiece<Failure: Error>(
    _ body: (Piece) throws(Failure) -> Void
  ) throws(Failure) {
    var pending = Piece(device: 0, offset: 0, length: 0, position: nil)
    var position = 0
    for slot in slots {
      let start = UInt64(slot.cluster) &* UInt64(Format.clusterSize)
      var block = 0
      while block < Format.blocksPerCluster {
        let rest = slot.mask &>> UInt16(block)
        let isStored = rest & 1 == 1
        let run = min(
          isStored ? (~rest).trailingZeroBitCount : rest.trailingZeroBitCount,
          Format.blocksPerCluster - block)
        let piece = Piece(
          device: slot.device, offset: start &+ UInt64(block &* Format.blockSize),
          length: run &* Format.blockSize, position: isStored ? position : nil)
        if piece.device == pending.device, (piece.position == nil) == (pending.position == nil),
          piece.offset == pending.offset &+ UInt64(pending.length)
        {
          pending.length &+= piece.length
        } else {
          if pending.length > 0 { try body(pending) }
          pending = piece
        }
        if isStored { position &+= piece.length }
        block &+= run
      }
    }
    if pending.length > 0 { try body(pending) }
  }
}

// MARK: - Reading and writing

extension ExtentHeader {
  /// Reads an extent header and checks all that can be checked without the archive's header.
  ///
  /// - Parameters:
  ///   - bytes: 512 bytes.
  ///   - uuid: of the archive.
  ///   - digest: an MD5.
  public init(
    parsing bytes: Span<UInt8>, uuid: UUID, digest: (some MessageDigest).Type
  ) throws(Fault) {
    guard bytes.count >= 4, bytes.load(Format.ExtentOffset.magic) == Format.extentMagic else {
      throw .notAnExtent
    }
    guard bytes.count == Format.extentHeaderSize else {
      throw .truncated(expected: Format.extentHeaderSize, found: bytes.count)
    }
    guard
      digest.digest(of: bytes, zeroing: Format.ExtentOffset.md5)
        == bytes.load(Format.ExtentOffset.md5)
    else { throw .extentChecksum }
    guard UUID(bytes.load(Format.ExtentOffset.uuid)) == uuid else { throw .foreignExtent }
    let claimed = Int(bytes.load(Format.ExtentOffset.blockCount, as: UInt16.self))
    guard claimed <= Format.blocksPerExtent else { throw .blockCount(claimed) }

    slots = []
    slots.reserveCapacity(Format.slotsPerExtent)
    blockCount = 0
    for index in 0..<Format.slotsPerExtent {
      let field = Format.ExtentOffset.slots &+ Format.ExtentOffset.slotStride &* index
      let info: UInt64 = bytes.load(field)
      let slot = Slot(
        device: UInt8(truncatingIfNeeded: info &>> 32),
        cluster: UInt32(truncatingIfNeeded: info),
        mask: UInt16(truncatingIfNeeded: info &>> 48))
      guard slot.device != 0 else { continue }
      slots.append(slot)
      blockCount &+= slot.mask.nonzeroBitCount
    }
    guard blockCount == claimed else { throw .blockSum(claimed: claimed, marked: blockCount) }
  }

  /// Whether these 512 bytes can be a sound extent header, by all but their checksum: cheap enough
  /// to be asked at every byte of something that is full of the magic.
  ///
  /// - Parameter uuid: of the archive; nil where it is not known.
  package static func isPlausible(_ bytes: Span<UInt8>, uuid: UUID?) -> Bool {
    guard bytes.count == Format.extentHeaderSize,
      bytes.load(Format.ExtentOffset.magic) == Format.extentMagic,
      uuid.map({ UUID(bytes.load(Format.ExtentOffset.uuid)) == $0 }) ?? true
    else { return false }
    let claimed = Int(bytes.load(Format.ExtentOffset.blockCount, as: UInt16.self))
    guard claimed <= Format.blocksPerExtent else { return false }
    var marked = 0
    for index in 0..<Format.slotsPerExtent {
      let field = Format.ExtentOffset.slots &+ Format.ExtentOffset.slotStride &* index
      let info: UInt64 = bytes.load(field)
      if info &>> 32 & 0xff != 0 { marked &+= (info &>> 48).nonzeroBitCount }
      if marked > claimed { return false }
    }
    return marked == claimed
  }

  /// The archive that these 512 bytes claim to belong to.
  package static func uuid(of bytes: Span<UInt8>) -> UUID {
    UUID(bytes.load(Format.ExtentOffset.uuid))
  }

  /// Whether these bytes were meant as an extent header of the archive, sound or not, complete or
  /// not.
  public static func resembles(_ bytes: Span<UInt8>, uuid: UUID) -> Bool {
    bytes.count >= Format.ExtentOffset.uuid + 16
      && (bytes.load(Format.ExtentOffset.magic) == Format.extentMagic
        || UUID(bytes.load(Format.ExtentOffset.uuid)) == uuid)
  }

  /// The header as it stands in the archive: 512 bytes.
  ///
  /// - Parameters:
  ///   - uuid: of the archive.
  ///   - digest: an MD5.
  public func serialized(uuid: UUID, digest: (some MessageDigest).Type) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Format.extentHeaderSize)
    var span = bytes.mutableSpan
    serialize(into: &span, uuid: uuid, digest: digest)
    return bytes
  }

  /// Writes the header.
  ///
  /// - Parameters:
  ///   - bytes: 512 bytes, which are overwritten.
  ///   - uuid: of the archive.
  ///   - digest: an MD5.
  package func serialize(
    into header: inout MutableSpan<UInt8>, uuid: UUID, digest: (some MessageDigest).Type
  ) {
    precondition(header.count == Format.extentHeaderSize)
    header.update(repeating: 0)
    header.store(Format.extentMagic, at: Format.ExtentOffset.magic)
    header.store(UInt16(blockCount), at: Format.ExtentOffset.blockCount)
    header.store(uuid.value, at: Format.ExtentOffset.uuid)
    for (index, slot) in slots.enumerated() {
      header.store(
        UInt64(slot.mask) << 48 | UInt64(slot.device) << 32 | UInt64(slot.cluster),
        at: Format.ExtentOffset.slots + Format.ExtentOffset.slotStride * index)
    }
    let checksum = digest.digest(of: header.span, zeroing: Format.ExtentOffset.md5)
    header.store(checksum, at: Format.ExtentOffset.md5)
  }
}
