// SPDX-License-Identifier: Apache-2.0

import Archives
import CNBDKit
import Compression
import System
import VMA

/// A disk of the archive, as clients see it.
final class Export: Sendable {
  let device: ArchiveHeader.Device
  private let reader: DiskReader
  private let watch: ArchiveWatch?

  /// Limits the length of an answer to a client, which can ask for more.
  private static let extentLimit = 8192
  /// The NBD protocol limits names.
  private static let longestName = 4096

  /// - Parameter watch: on the file of the archive; nil if it is not a file.
  init(_ device: ArchiveHeader.Device, _ reader: DiskReader, _ watch: ArchiveWatch?) {
    self.watch = watch
    self.device = device
    self.reader = reader
  }

  /// The name of the drive; nil if it cannot be the name of an export.
  var exportName: [UInt8]? {
    let name = device.name
    return (1...Self.longestName).contains(name.count) && !name.contains(0) ? name : nil
  }

  /// In bytes.
  var size: UInt64 { reader.size }

  var description: String {
    "\(device.isVMState ? "memory" : "disk") in \(reader.archiveName), \(ByteCount(size))"
  }

  /// Fills memory with bytes of the disk.
  func read(into memory: UnsafeMutableRawBufferPointer, at offset: UInt64) throws {
    let count = memory.count
    let found = try unsafe Buffer.withBuffer(over: memory) {
      try reader.read(into: $0, 0..<count, at: offset)
    }
    try watch?.requireUnchanged()
    guard found == count else {
      throw Failure(.inputOutput, "\(reader.name): byte \(offset) is beyond the end")
    }
  }

  /// Adds the extents of a part of the disk to the answer for a client.
  func addExtents(
    to extents: OpaquePointer?, count: UInt32, at offset: UInt64, onlyFirst: Bool
  ) throws {
    guard offset < reader.size else { return }
    let range = offset..<offset + min(UInt64(count), reader.size - offset)
    let limit = onlyFirst ? 1 : Self.extentLimit
    for stretch in reader.stretches(in: range, limit: limit) {
      let kind = stretch.isZero ? UInt32(NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) : 0
      let length = UInt64(stretch.range.count)
      guard unsafe nbdkit_add_extent(extents, stretch.range.lowerBound, length, kind) == 0 else {
        throw Failure(.general, "\(reader.name): cannot list extents")
      }
    }
  }

  // MARK: Handles of connections

  func retained() -> UnsafeMutableRawPointer { unsafe Unmanaged.passRetained(self).toOpaque() }

  /// The export of a connection: nbdkit passes what `open` returned.
  static func of(_ handle: UnsafeMutableRawPointer?) throws -> Export {
    guard let handle = unsafe handle else { throw Failure(.general, "no export is open") }
    return unsafe Unmanaged<Export>.fromOpaque(handle).takeUnretainedValue()
  }

  static func release(_ handle: UnsafeMutableRawPointer?) {
    guard let handle = unsafe handle else { return }
    unsafe Unmanaged<Export>.fromOpaque(handle).release()
  }
}
