// SPDX-License-Identifier: Apache-2.0

/// Creates the extents of an archive from clusters that arrive in any order.
///
/// The builder does no input or output, and copies no data: the caller keeps the data of clusters
/// until their extent is written. It checks everything that a reader would check.
///
/// The clusters of a disk are grouped by their numbers, 59 in each extent. Clusters that come much
/// earlier than their neighbors are in extents of their own. The same disk therefore gives the same
/// extents, apart from a few, even if it was copied while it was in use.
///
/// <doc:WriteAnArchive> has an example.
public struct ArchiveBuilder: Sendable {
  /// An extent to write: its header, and then its blocks.
  public struct Extent: Hashable, Sendable {
    public var header: ExtentHeader
    /// The 512 bytes of the header.
    public var headerBytes: [UInt8]
    /// The blocks, in their order, as ranges in the caller's memory.
    public var blocks: [Range<Int>]
  }

  /// Calculates the XXH3-128 digest of some blocks in the caller's memory; the first byte is
  /// the most significant one.
  public typealias DataDigest = @Sendable (_ blocks: [Range<Int>]) -> UInt128

  public let header: ArchiveHeader
  /// The bytes at the start of the archive.
  public let headerBytes: [UInt8]
  private let digest: any MessageDigest.Type
  private let dataDigest: DataDigest?
  private var census: ClusterCensus
  private var groups: ExtentGroups
  private var extentCount = 0
  /// Bytes of the archive before the next extent.
  private var position: UInt64
  private var isFinished = false
  /// Digests that are not written yet.
  private var digests: [UInt128] = []
  /// Whether the next extent is one of digests.
  private var isDigestDue = false
  /// Whether the archive holds any digest, or will.
  private var hasDigests = false
  private var isLastDigests = false

  /// - Parameters:
  ///   - header: of the archive.
  ///   - digest: an implementation of MD5.
  ///   - dataDigest: an implementation of XXH3-128; without it, the archive has no digests of data.
  /// - Throws: `FormatError` if an archive cannot hold the header.
  public init(
    _ header: ArchiveHeader, digest: any MessageDigest.Type, dataDigest: DataDigest? = nil
  ) throws(FormatError) {
    headerBytes = try header.serialized(digest: digest)
    position = UInt64(headerBytes.count)
    census = try ClusterCensus(header.devices)
    groups = ExtentGroups(header.devices)
    self.header = header
    self.digest = digest
    self.dataDigest = dataDigest
  }

  /// Clusters with blocks in extents that ``nextExtent()`` has not returned yet. The caller must
  /// keep their data.
  public var heldCount: Int { groups.heldCount }

  /// Adds a cluster whose non-zero blocks are known.
  ///
  /// - Parameters:
  ///   - device: the id of the device.
  ///   - cluster: its place on the device, in units of 64 KiB. The clusters of `vmstate` must be
  ///     added in order.
  ///   - mask: bit j set: store block j of the cluster.
  ///   - position: where the 64 KiB of the cluster begin in the caller's memory. It has no meaning
  ///     if no block is stored.
  ///   - isEarly: whether the cluster comes out of order, for example because a guest is about to
  ///     overwrite it. The builder also detects that, but not at once.
  /// - Throws: `FormatError` if the archive cannot contain this cluster; nothing is added then.
  public mutating func add(
    device: UInt8, cluster: UInt64, mask: UInt16, at position: Int = 0, isEarly: Bool = false
  ) throws(FormatError) {
    guard !isFinished else { throw FormatError(.argument, "the archive is finished") }
    guard let number = UInt32(exactly: cluster) else {
      throw FormatError(
        .beyondEnd, "cluster \(cluster) is beyond the end of device \(device)")
    }
    guard mask == 0 || (0...Int.max - VMAFormat.clusterSize).contains(position) else {
      throw FormatError(.argument, "position \(position) is out of range")
    }
    let slot = ExtentHeader.Slot(device: device, cluster: number, mask: mask)
    try census.record(slot, of: nil)
    groups.add(slot, at: position, isEarly: isEarly, census)
  }

  /// Adds a cluster; its blocks of zeros are not stored.
  ///
  /// - Parameters:
  ///   - data: 64 KiB. At the end of a device, pad it with zeros.
  ///   - device: the id of the device.
  ///   - cluster: its place on the device, in units of 64 KiB. The clusters of `vmstate` must be
  ///     added in order.
  ///   - position: where the data begins in the caller's memory.
  ///   - isEarly: whether the cluster comes out of order.
  /// - Throws: `FormatError` if the archive cannot contain this cluster; nothing is added then.
  public mutating func add(
    _ data: Span<UInt8>, device: UInt8, cluster: UInt64, at position: Int, isEarly: Bool = false
  ) throws(FormatError) {
    guard data.count == VMAFormat.clusterSize else {
      throw FormatError(
        .argument, "a cluster has \(VMAFormat.clusterSize) bytes, not \(data.count)")
    }
    var mask: UInt16 = 0
    for block in 0..<VMAFormat.blocksPerCluster {
      let start = block * VMAFormat.blockSize
      for index in start..<start + VMAFormat.blockSize where data[index] != 0 {
        mask |= 1 << UInt16(block)
        break
      }
    }
    try add(device: device, cluster: cluster, mask: mask, at: position, isEarly: isEarly)
  }

  /// Adds clusters of zeros.
  ///
  /// - Throws: `FormatError` if the archive cannot contain one of these clusters; those before it
  ///   are added.
  public mutating func add(
    zeros clusters: Range<UInt64>, device: UInt8, isEarly: Bool = false
  ) throws(FormatError) {
    guard !isFinished else { throw FormatError(.argument, "the archive is finished") }
    var next = clusters.lowerBound
    while next < clusters.upperBound {
      let end = min(
        next - next % UInt64(VMAFormat.slotsPerExtent) + UInt64(VMAFormat.slotsPerExtent),
        clusters.upperBound)
      var recorded = next
      do throws(FormatError) {
        while recorded < end {
          guard let number = UInt32(exactly: recorded) else {
            throw FormatError(
              .beyondEnd, "cluster \(recorded) is beyond the end of device \(device)")
          }
          try census.record(
            ExtentHeader.Slot(device: device, cluster: number, mask: 0), of: nil)
          recorded += 1
        }
      } catch {
        groups.add(zeros: next..<recorded, device: device, isEarly: isEarly, census)
        throw error
      }
      groups.add(zeros: next..<end, device: device, isEarly: isEarly, census)
      next = end
    }
  }

  /// The next extent to write. Once it is written, the caller can discard its clusters.
  ///
  /// The last extent with clusters, and everything after it, is returned only after ``finish()``, so
  /// that an archive that could not be completed never looks complete.
  ///
  /// - Returns: nil if no extent is ready; after ``finish()``, if there is none.
  public mutating func nextExtent() -> Extent? {
    if isDigestDue { return nextDigests() }
    guard let closed = groups.nextClosed(withLast: isFinished) else {
      guard isFinished else { return nil }
      if hasDigests { return isLastDigests ? nil : nextDigests() }
      return extentCount == 0 ? next([], []) : nil
    }
    let blocks = closed.blocks
    if let dataDigest, !blocks.isEmpty {
      digests.append(dataDigest(blocks))
      hasDigests = true
    }
    isDigestDue =
      !digests.isEmpty && (closed.endsSection || digests.count == ExtentDigests.capacity)
    return next(closed.slots, blocks)
  }

  private mutating func nextDigests() -> Extent {
    defer {
      digests.removeAll(keepingCapacity: true)
      isDigestDue = false
    }
    return next([], [], ExtentDigests(digests))
  }

  private mutating func next(
    _ slots: [ExtentHeader.Slot], _ blocks: [Range<Int>], _ digests: ExtentDigests? = nil
  ) -> Extent {
    let header = ExtentHeader(
      checked: slots, number: extentCount, byte: position, digests: digests)
    position += UInt64(VMAFormat.extentHeaderSize + header.dataSize)
    extentCount += 1
    isLastDigests = digests != nil
    return Extent(
      header: header, headerBytes: header.serialized(uuid: self.header.uuid, digest: digest),
      blocks: blocks)
  }

  /// Ends the extent that holds most data before it is full, so that the caller can release memory.
  ///
  /// The extent is then returned by ``nextExtent()``, unless it is the last one.
  public mutating func flush() {
    groups.closeLargest()
  }

  /// Ends the archive, and makes its last extents available from ``nextExtent()``.
  ///
  /// - Throws: `FormatError` with the code `incomplete` if a cluster is missing.
  public mutating func finish() throws(FormatError) {
    guard !isFinished else { return }
    try census.checkComplete(header.devices)
    groups.closeAll()
    isFinished = true
  }
}
