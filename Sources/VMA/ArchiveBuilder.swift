// SPDX-License-Identifier: Apache-2.0

/// Creates the headers of an archive from clusters that arrive in any order.
///
/// The builder does no input or output, and copies no data: the caller keeps the clusters of the
/// current extent, and the builder reports which blocks of them to write. It checks everything that
/// a reader would check.
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

  public let header: ArchiveHeader
  /// The bytes at the start of the archive.
  public let headerBytes: [UInt8]
  private let digest: any MessageDigest.Type
  private var census: ClusterCensus
  private var slots: [ExtentHeader.Slot] = []
  private var blocks: [Range<Int>] = []
  private var extentCount = 0
  /// The size of the archive before the current extent, in bytes.
  private var position: UInt64

  /// - Parameters:
  ///   - header: of the archive.
  ///   - digest: an implementation of MD5.
  /// - Throws: `FormatError` if an archive cannot hold the header.
  public init(
    _ header: ArchiveHeader, digest: any MessageDigest.Type
  ) throws(FormatError) {
    headerBytes = try header.serialized(digest: digest)
    position = UInt64(headerBytes.count)
    census = try ClusterCensus(header.devices)
    self.header = header
    self.digest = digest
  }

  /// The number of clusters that still fit in the current extent. At 0, call ``nextExtent()``.
  public var room: Int { VMAFormat.slotsPerExtent - slots.count }

  /// Adds a cluster whose non-zero blocks are known.
  ///
  /// - Parameters:
  ///   - device: the id of the device.
  ///   - cluster: its place on the device, in units of 64 KiB. The clusters of `vmstate` must be
  ///     added in order.
  ///   - mask: bit j set: store block j of the cluster.
  ///   - position: where the 64 KiB of the cluster begin in the caller's memory. It has no meaning
  ///     if no block is stored.
  /// - Throws: `FormatError` if the archive cannot contain this cluster; nothing is added then.
  public mutating func add(
    device: UInt8, cluster: UInt64, mask: UInt16, at position: Int = 0
  ) throws(FormatError) {
    guard room > 0 else {
      throw FormatError(.slotCount, "the extent is full")
    }
    guard let number = UInt32(exactly: cluster) else {
      throw FormatError(
        .beyondEnd, "cluster \(cluster) is beyond the end of device \(device)")
    }
    guard mask == 0 || (0...Int.max - VMAFormat.clusterSize).contains(position) else {
      throw FormatError(.argument, "position \(position) is out of range")
    }
    let slot = ExtentHeader.Slot(device: device, cluster: number, mask: mask)
    try census.record(slot, of: nil)
    slots.append(slot)
    mask.forEachRun { run in
      let start = position + run.lowerBound * VMAFormat.blockSize
      let end = position + run.upperBound * VMAFormat.blockSize
      if let last = blocks.last, last.upperBound == start {
        blocks[blocks.count - 1] = last.lowerBound..<end
      } else {
        blocks.append(start..<end)
      }
    }
  }

  /// Adds a cluster; its blocks of zeros are not stored.
  ///
  /// - Parameters:
  ///   - data: 64 KiB. At the end of a device, pad it with zeros.
  ///   - device: the id of the device.
  ///   - cluster: its place on the device, in units of 64 KiB. The clusters of `vmstate` must be
  ///     added in order.
  ///   - position: where the data begins in the caller's memory.
  /// - Throws: `FormatError` if the archive cannot contain this cluster; nothing is added then.
  public mutating func add(
    _ data: Span<UInt8>, device: UInt8, cluster: UInt64, at position: Int
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
    try add(device: device, cluster: cluster, mask: mask, at: position)
  }

  /// Ends the current extent. Once it is written, the caller can discard its clusters.
  ///
  /// - Returns: the extent; nil if it has no cluster.
  public mutating func nextExtent() -> Extent? {
    slots.isEmpty ? nil : takeExtent()
  }

  /// Ends the archive. Write its last extent only after this call, so that an archive that could
  /// not be completed never looks complete.
  ///
  /// - Returns: the last extent; nil if it has no cluster. An archive without any cluster still has
  ///   one extent.
  /// - Throws: `FormatError` with the code `incomplete` if a cluster is missing.
  public mutating func finish() throws(FormatError) -> Extent? {
    try census.checkComplete(header.devices)
    return slots.isEmpty && extentCount > 0 ? nil : takeExtent()
  }

  private mutating func takeExtent() -> Extent {
    let header = ExtentHeader(checked: slots, number: extentCount, byte: position)
    defer {
      position += UInt64(VMAFormat.extentHeaderSize + header.dataSize)
      extentCount += 1
      slots.removeAll(keepingCapacity: true)
      blocks.removeAll(keepingCapacity: true)
    }
    return Extent(
      header: header, headerBytes: header.serialized(uuid: self.header.uuid, digest: digest),
      blocks: blocks)
  }
}
