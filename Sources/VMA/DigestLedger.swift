// SPDX-License-Identifier: Apache-2.0

/// Assigns the digests of an archive to its extents, and compares them.
package struct DigestLedger: Sendable {
  private struct Entry: Sendable {
    var header: ExtentHeader
    /// Of the blocks that were read; nil if they were not.
    var digest: UInt128?
  }

  /// The extents with blocks after the last digests; no more than digests can cover.
  private var pending: [Entry] = []
  /// The number of these extents, without a limit.
  private var pendingCount = 0
  /// Whether the archive has digests.
  package private(set) var isUsed = false
  /// Bytes of blocks that were compared with a digest.
  package private(set) var comparedBytes: UInt64 = 0
  /// Bytes of all blocks.
  package private(set) var totalBytes: UInt64 = 0
  /// The extent whose blocks differ from their digest, if any.
  package private(set) var damaged: ExtentHeader?

  package init() {}

  /// Whether a digest can cover the next extent with blocks. In archives without digests, it soon
  /// cannot.
  package var canCoverNext: Bool { pendingCount < ExtentDigests.capacity }

  /// Adds the next extent of the archive.
  ///
  /// - Parameters:
  ///   - digest: of its blocks; nil if they are not to be compared.
  ///   - covered: called with each extent that a digest covers.
  /// - Throws: `FormatError` if these are digests that do not match the extents before them.
  package mutating func record(
    _ header: ExtentHeader, digest: UInt128? = nil,
    covered: (ExtentHeader, UInt128) -> Void = { _, _ in }
  ) throws(FormatError) {
    guard let digests = header.digests else {
      guard header.blockCount > 0 else { return }
      totalBytes += UInt64(header.dataSize)
      if canCoverNext { pending.append(Entry(header: header, digest: digest)) }
      pendingCount += 1
      return
    }
    isUsed = true
    guard digests.count == pendingCount, digests.count == pending.count else {
      throw FormatError(
        .digestCount, "digests of \(digests.count) extents, but \(pendingCount) precede",
        byte: header.byte, extent: header.number)
    }
    for (entry, value) in zip(pending, digests.values) {
      covered(entry.header, value)
      guard let digest = entry.digest else { continue }
      guard digest == value else {
        damaged = entry.header
        throw .damagedData(of: entry.header)
      }
      comparedBytes += UInt64(entry.header.dataSize)
    }
    pending = []
    pendingCount = 0
  }

  /// Checks that digests cover all extents with data of some devices, if the archive has digests.
  package func checkEnd(_ devices: [ArchiveHeader.Device]) throws(FormatError) {
    guard isUsed else { return }
    let ids = Set(devices.map(\.id))
    for entry in pending where entry.header.hasData(of: ids) {
      throw FormatError(
        .digestCount, "archive is truncated: no digest follows this extent",
        byte: entry.header.byte, extent: entry.header.number)
    }
  }
}

extension ExtentHeader {
  /// Whether the extent has blocks of any of these devices.
  package func hasData(of devices: Set<UInt8>) -> Bool {
    slots.contains { $0.mask != 0 && devices.contains($0.device) }
  }
}

extension FormatError {
  /// The blocks of an extent differ from their digest.
  package static func damagedData(of header: ExtentHeader) -> Self {
    Self(
      .dataDigest, "data does not match its digest", byte: header.byte, extent: header.number)
  }
}
