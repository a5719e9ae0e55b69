// SPDX-License-Identifier: Apache-2.0

import Compression
import Synchronization
import System
import VMA

/// Splits a stream into extents. The header of an extent is read together with the blocks of the
/// previous one, so that each extent needs only one read.
final class ExtentScanner: @unchecked Sendable {
  private let source: any ByteSource
  private let name: String
  private var parser: ArchiveParser
  private let headerBytes: Buffer
  /// The number of bytes of the next header already read; nil before the first read.
  private var headerCount: Int?
  /// The size of a read of unneeded blocks: it stays in the processor cache.
  private static let discardSize = 1 << 19
  private let keepsData: Bool
  /// The devices whose data is compared with the digests of the archive.
  private let checkedDevices: [ArchiveHeader.Device]
  private let checkedIDs: Set<UInt8>
  private let allDevices: [ArchiveHeader.Device]
  private let hash: XXH3
  /// Of all extents that were checked.
  private(set) var ledger = DigestLedger()
  /// Whether a digest may still cover the next extent: otherwise no data is kept for it.
  private let mayHaveDigests = Mutex(true)

  /// - Parameters:
  ///   - parser: which has read the header of the archive.
  ///   - checkedDevices: whose data is compared with the digests of the archive, if it has any.
  init(
    source: any ByteSource, name: String, parser: ArchiveParser, keepsData: Bool,
    checkedDevices: [ArchiveHeader.Device]
  ) throws {
    self.checkedDevices = checkedDevices
    checkedIDs = Set(checkedDevices.map(\.id))
    allDevices = parser.header?.devices ?? []
    hash = try XXH3()
    headerBytes = try Buffer(capacity: VMAFormat.extentHeaderSize)
    self.keepsData = keepsData
    self.source = source
    self.name = name
    self.parser = parser
  }

  /// - Returns: false at the end of the archive.
  func read(into extent: Extent) throws -> Bool {
    let headerCount =
      try headerCount ?? source.readFully(into: headerBytes, 0..<headerBytes.capacity)
    do {
      guard
        let header = try headerBytes.withBytes(
          0..<headerCount, { (bytes) throws(FormatError) in try parser.nextExtent(in: bytes) })
      else { return false }
      extent.header = header
      let size = header.dataSize
      extent.isLoaded = keepsData || mayHaveDigests.withLock { $0 }
      let discarded = try extent.isLoaded ? 0 : discard(size, in: extent.buffer)
      let rest = size - discarded
      let count = try source.readFully(into: extent.buffer, 0..<rest + VMAFormat.extentHeaderSize)
      parser.skipData(discarded + min(count, rest))
      if count < rest { try parser.checkEnd() }
      headerBytes.copy(from: extent.buffer, rest..<count, to: 0)
      self.headerCount = count - rest
    } catch let error as FormatError {
      throw Failure(name, error)
    }
    return true
  }

  /// Compares the data of an extent with its digest, or remembers it until its digest is read. This
  /// must be called for all extents in their order; it may be on another thread than reading.
  func check(_ extent: Extent) throws {
    let header = extent.header
    let isCompared = extent.isLoaded && ledger.canCoverNext && header.hasData(of: checkedIDs)
    let digest = isCompared ? hash.digest(of: [0..<header.dataSize], in: extent.buffer) : nil
    defer { if !ledger.canCoverNext { mayHaveDigests.withLock { $0 = false } } }
    do throws(FormatError) {
      try ledger.record(header, digest: digest)
    } catch {
      let damaged = allDevices.filter { ledger.damaged?.hasData(of: [$0.id]) == true }
      throw Failure(name, error).naming(damaged, as: "damaged")
    }
  }

  /// Checks that digests cover the data of all checked devices, if the archive has digests. The end
  /// of the archive must have been reached.
  func checkDigestsAtEnd() throws {
    do throws(FormatError) {
      try ledger.checkEnd(checkedDevices)
    } catch {
      throw Failure(name, error)
    }
  }

  /// Reads bytes and drops them, except the last few, which are read with the next header.
  ///
  /// - Returns: the bytes read, fewer than `size`.
  private func discard(_ size: Int, in buffer: Buffer) throws -> Int {
    var done = 0
    while size - done > Self.discardSize {
      let count = try source.readFully(into: buffer, 0..<Self.discardSize)
      done += count
      if count < Self.discardSize { break }
    }
    return done
  }
}
