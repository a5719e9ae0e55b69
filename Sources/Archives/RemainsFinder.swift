// SPDX-License-Identifier: Apache-2.0

import Compression
import System
import VMA

/// Finds what a damaged archive still contains, from its extent headers alone.
///
/// Wherever an intact header is missing, it searches for the next one at every byte. The data of an
/// extent that is not followed by another one, or by the end of the archive, counts as lost: bytes may
/// be missing from it. Clusters of zeros need no data.
struct RemainsFinder {
  private let access: any RandomAccess
  private let uuid: ArchiveHeader.UUID
  private let buffer: Buffer
  private(set) var census: ClusterCensus
  private(set) var extentCount = 0

  private static let headerSize = VMAFormat.extentHeaderSize
  private static let pieceSize = 1 << 20

  init(_ access: any RandomAccess, _ header: ArchiveHeader) throws {
    self.access = access
    uuid = header.uuid
    census = try ClusterCensus(header.devices, isSalvaging: true)
    buffer = try Buffer(capacity: Self.pieceSize + Self.headerSize)
  }

  /// Reads all extent headers from a byte on.
  ///
  /// - Parameter collect: receives the stored clusters, each with its device.
  mutating func run(
    from start: UInt64, collect: (DataRun, UInt8) throws -> Void
  ) throws {
    var position = start
    var last: ExtentHeader?
    while position < access.size {
      if let header = try header(at: position) {
        if let last { try add(last, withData: true, collect) }
        last = header
        position = header.dataByte + UInt64(header.dataSize)
        continue
      }
      // What is left of a header shows where the last extent ends. Otherwise the next header may
      // begin within the data of that extent, because bytes are missing there.
      let isAtEnd = try resemblesHeader(at: position)
      let next = try search(from: isAtEnd ? position + 1 : last.map(\.dataByte) ?? position + 1)
      if let last { try add(last, withData: isAtEnd, collect) }
      last = nil
      guard let next else { return }
      position = next
    }
    guard let last else { return }
    // The archive ends after this extent, or within it.
    try add(last, withData: position == access.size, collect)
  }

  /// Adds the clusters of an extent that are possible and new.
  private mutating func add(
    _ header: ExtentHeader, withData: Bool, _ collect: (DataRun, UInt8) throws -> Void
  ) throws {
    extentCount += 1
    var position = header.dataByte
    for slot in header.slots {
      defer { position += UInt64(slot.mask.nonzeroBitCount * VMAFormat.blockSize) }
      guard withData || slot.mask == 0, isNew(slot, of: header) else { continue }
      guard slot.mask != 0 else { continue }
      let run = DataRun(position: position, cluster: slot.cluster, clusterCount: 1, mask: slot.mask)
      try collect(run, slot.device)
    }
  }

  private mutating func isNew(_ slot: ExtentHeader.Slot, of header: ExtentHeader) -> Bool {
    do throws(FormatError) {
      try census.record(slot, of: header)
      return true
    } catch {
      return false
    }
  }

  // MARK: Headers

  private func header(at byte: UInt64) throws -> ExtentHeader? {
    try read(Self.headerSize, at: byte) == Self.headerSize ? header(in: 0, byte: byte) : nil
  }

  private func resemblesHeader(at byte: UInt64) throws -> Bool {
    let count = try read(Self.headerSize, at: byte)
    return buffer.withBytes(0..<count) { ExtentHeader.resembles($0, uuid: uuid) }
  }

  /// Reads into the start of the buffer.
  ///
  /// - Returns: the bytes read; 0 if they are damaged.
  private func read(_ count: Int, at byte: UInt64) throws -> Int {
    do {
      return try access.read(into: buffer, 0..<count, at: byte)
    } catch let failure as Failure where failure.status == .badData {
      return 0
    }
  }

  private func header(in place: Int, byte: UInt64) -> ExtentHeader? {
    buffer.withBytes(place..<place + Self.headerSize) { bytes in
      guard ExtentHeader.isPlausible(bytes, uuid: uuid) else { return nil }
      return try? ExtentHeader(
        parsing: bytes, uuid: uuid, digest: MD5.self, number: extentCount, byte: byte)
    }
  }

  /// The position of the next intact header; nil if there is none.
  private func search(from start: UInt64) throws -> UInt64? {
    var position = start
    while position < access.size {
      // A damaged part of a compressed archive is skipped as a whole.
      let part = min(access.contiguous(from: position), UInt64(Self.pieceSize))
      let length = Int(max(part, 1))
      var count = try read(length + Self.headerSize - 1, at: position)
      if count == 0 { count = try read(length, at: position) }
      if count >= Self.headerSize, let place = firstHeader(in: count, byte: position) {
        return position + UInt64(place)
      }
      position += count == 0 ? max(access.contiguous(from: position), 1) : UInt64(length)
    }
    return nil
  }

  private func firstHeader(in count: Int, byte: UInt64) -> Int? {
    let magic = Array("VMAE".utf8)
    var start = 0
    while start + Self.headerSize <= count,
      let place = buffer.firstIndex(of: magic, in: start..<count - Self.headerSize + magic.count)
    {
      if header(in: place, byte: byte + UInt64(place)) != nil { return place }
      start = place + 1
    }
    return nil
  }
}
