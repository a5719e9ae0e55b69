// SPDX-License-Identifier: Apache-2.0

/// What is wrong with an archive, and at which byte of it.
public struct FormatError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The part of the archive that is wrong.
  public enum Place: Hashable, Sendable {
    case header
    /// The extent with this number, counted from 0.
    case extent(Int)
    /// The archive as a whole; the byte is its length as far as it was read.
    case archive
  }

  public var place: Place
  /// Bytes from the start of the (uncompressed) archive.
  public var byte: UInt64
  public var fault: Fault

  public init(_ fault: Fault, in place: Place, at byte: UInt64) {
    self.place = place
    self.byte = byte
    self.fault = fault
  }

  /// One line for people; text from the archive in it is not made safe for a terminal.
  public var description: String {
    switch place {
    case .header: "header at byte \(byte): \(fault)"
    case .extent(let number): "extent \(number) at byte \(byte): \(fault)"
    case .archive: "\(fault)"
    }
  }
}

/// A way in which an archive can be wrong.
public enum Fault: Error, Hashable, Sendable, CustomStringConvertible {
  // The header.
  case notAnArchive
  case unsupportedVersion(UInt32)
  case headerSize(UInt32)
  case headerChecksum
  case blobBuffer(offset: UInt32, size: UInt32)
  case blob(offset: UInt32)
  case nameWithoutEnd(offset: UInt32)
  case deviceZero
  case deviceSize(id: UInt8, size: UInt64)
  // What cannot be written.
  case tooManyConfigs(Int)
  case tooManyDevices(Int)
  case deviceTwice(UInt8)
  case blobTooLong(Int)
  case nameWithNUL
  // Extents.
  case truncated(expected: Int, found: Int)
  case notAnExtent
  case foreignExtent
  case extentChecksum
  case blockCount(Int)
  case tooManySlots(Int)
  case blockSum(claimed: Int, marked: Int)
  case unknownDevice(UInt8)
  case clusterBeyondEnd(device: UInt8, cluster: UInt32)
  case blockBeyondEnd(device: UInt8, cluster: UInt32)
  case duplicateCluster(device: UInt8, cluster: UInt32)
  case vmstateOrder(expected: UInt64, found: UInt32)
  // The whole.
  case tooShort(needed: UInt64, found: UInt64)
  case missingClusters(name: [UInt8], count: UInt64, first: UInt64)

  public var description: String {
    switch self {
    case .notAnArchive: "not a VMA archive"
    case .unsupportedVersion(let version): "VMA version \(version) is not supported"
    case .headerSize(let size): "bad header size \(size)"
    case .headerChecksum, .extentChecksum: "header checksum mismatch"
    case .blobBuffer(let offset, let size):
      "blob buffer of \(size) bytes at \(offset) is not inside the header"
    case .blob(let offset): "blob at offset \(offset) is not inside the blob buffer"
    case .nameWithoutEnd(let offset): "name at blob offset \(offset) does not end with NUL"
    case .deviceZero: "a device has the reserved id 0"
    case .deviceSize(let id, let size): "device \(id) has the impossible size \(size)"
    case .tooManyConfigs(let count):
      "\(count) configs; an archive holds at most \(Format.maximumConfigCount)"
    case .tooManyDevices(let count):
      "\(count) devices; an archive holds at most \(Format.deviceIDs.count)"
    case .deviceTwice(let id): "two devices have the id \(id)"
    case .blobTooLong(let count):
      "a name or config of \(count) bytes; at most \(Format.maximumBlobSize) fit"
    case .nameWithNUL: "a name holds a NUL"
    case .truncated(let expected, let found):
      "archive is cut: \(found) of \(expected) bytes are there"
    case .notAnExtent: "no extent starts here"
    case .foreignExtent: "extent of another archive (uuid differs)"
    case .blockCount(let count): "bad block count \(count)"
    case .blockSum(let claimed, let marked):
      "block count is \(claimed), but \(marked) blocks are marked"
    case .tooManySlots(let count):
      "\(count) clusters; an extent holds at most \(Format.slotsPerExtent)"
    case .unknownDevice(let id): "device \(id) does not exist"
    case .clusterBeyondEnd(let device, let cluster):
      "cluster \(cluster) lies beyond the end of device \(device)"
    case .blockBeyondEnd(let device, let cluster):
      "cluster \(cluster) marks blocks beyond the end of device \(device)"
    case .duplicateCluster(let device, let cluster):
      "cluster \(cluster) of device \(device) is there twice"
    case .vmstateOrder(let expected, let found):
      "vmstate goes on with cluster \(found) instead of \(expected)"
    case .tooShort(let needed, let found):
      "archive is incomplete: its disks need at least \(needed) bytes of extents, \(found) are there"
    case .missingClusters(let name, let count, let first):
      "archive is incomplete: \(String(decoding: name, as: UTF8.self)) lacks "
        + "\(count) cluster\(count == 1 ? "" : "s"), the first at byte "
        + "\(first &* UInt64(Format.clusterSize))"
    }
  }
}
