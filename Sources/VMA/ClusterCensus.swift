// SPDX-License-Identifier: Apache-2.0

/// Counts the clusters of an archive as its extents are read or written. Only this shows whether an
/// archive is complete: it has no end marker, and if it is truncated between two extents it looks
/// intact.
///
/// Every cluster of every device must occur exactly once, and those of `vmstate` in order.
public struct ClusterCensus: Sendable {
  private struct Tally: Sendable {
    var device: ArchiveHeader.Device
    var clusterCount: UInt64
    /// Blocks of the last cluster that are inside the device.
    var lastMask: UInt16
    var seen: ClusterSet
    var seenCount: UInt64 = 0
    /// Whether any number of clusters may arrive, but in order: `vmstate`.
    var isStream: Bool
    /// The cluster after the last one that arrived.
    var end: UInt64 = 0

    /// Clusters that the device must have; for `vmstate`, all up to the last that arrived.
    var neededCount: UInt64 { max(clusterCount, device.isVMState ? end : 0) }
    var isComplete: Bool { seenCount >= neededCount }
  }

  /// Above 4 TiB of disks in total, one bit for each claimed cluster is too much memory.
  private static let denseLimit: UInt64 = 1 << 26

  /// The maximum number of bytes that a census allocates at the start.
  package static func memory(for devices: [ArchiveHeader.Device]) -> Int {
    let claimed = devices.clusterCount
    return claimed <= denseLimit ? Int(claimed / 8) + 8 * devices.count : 0
  }

  private var tallies: [Tally]
  /// The index of the tally for each device id, or -1.
  private var index: [Int]

  /// - Parameter devices: of the archive.
  /// - Throws: `FormatError` if a device is invalid, or if two have the same id.
  public init(_ devices: [ArchiveHeader.Device]) throws(FormatError) {
    try self.init(devices, isSalvaging: false)
  }

  /// - Parameter isSalvaging: accepts clusters of `vmstate` in any order, since some may be lost.
  package init(_ devices: [ArchiveHeader.Device], isSalvaging: Bool) throws(FormatError) {
    let claimed = devices.clusterCount
    tallies = []
    index = [Int](repeating: -1, count: 256)
    for device in devices {
      try device.check()
      guard index[Int(device.id)] < 0 else {
        throw FormatError(.deviceID, "two devices have the id \(device.id)")
      }
      index[Int(device.id)] = tallies.count
      let blocks = device.size.dividedRoundingUp(by: UInt64(VMAFormat.blockSize))
      let inLast = (blocks + 15) % 16 + 1
      let isDense = claimed <= Self.denseLimit && !device.isVMState
      tallies.append(
        Tally(
          device: device, clusterCount: device.clusterCount,
          lastMask: UInt16.max >> (16 - UInt16(inLast)),
          seen: ClusterSet(denseCount: isDense ? device.clusterCount : nil),
          isStream: device.isVMState && !isSalvaging))
    }
  }

  /// Counts the clusters of an extent.
  ///
  /// - Throws: `FormatError` at the first invalid slot; slots before it are counted.
  public mutating func record(_ header: ExtentHeader) throws(FormatError) {
    for slot in header.slots { try record(slot, of: header) }
  }

  /// Counts one cluster: its device must exist, the cluster and its blocks must be inside the
  /// device, and it must not have been counted before.
  ///
  /// - Parameter header: of its extent, for the error.
  package mutating func record(
    _ slot: ExtentHeader.Slot, of header: ExtentHeader?
  ) throws(FormatError) {
    func fault(_ code: FormatError.Code, _ message: String) -> FormatError {
      FormatError(code, message, byte: header?.byte, extent: header?.number)
    }
    let index = index[Int(slot.device)]
    guard index >= 0 else {
      throw fault(.unknownDevice, "device \(slot.device) does not exist")
    }
    let cluster = UInt64(slot.cluster)
    if tallies[index].isStream {
      guard cluster == tallies[index].seenCount else {
        throw fault(
          .clusterOrder,
          "vmstate continues with cluster \(cluster) instead of \(tallies[index].seenCount)")
      }
    } else {
      if !tallies[index].device.isVMState {
        let count = tallies[index].clusterCount
        guard cluster < count else {
          throw fault(
            .beyondEnd, "cluster \(cluster) is beyond the end of device \(slot.device)")
        }
        guard cluster + 1 < count || slot.mask & ~tallies[index].lastMask == 0 else {
          throw fault(
            .beyondEnd,
            "cluster \(cluster) marks blocks beyond the end of device \(slot.device)")
        }
      }
      guard tallies[index].seen.insert(cluster) else {
        throw fault(
          .duplicateCluster, "cluster \(cluster) of device \(slot.device) is present twice")
      }
    }
    tallies[index].seenCount += 1
    tallies[index].end = max(tallies[index].end, cluster + 1)
  }

  /// The index of a device's tally; nil if the archive does not have the device.
  private func place(of device: ArchiveHeader.Device) -> Int? {
    let index = index[Int(device.id)]
    return index < 0 ? nil : index
  }

  /// The number of clusters of the device that have arrived.
  public func count(of device: ArchiveHeader.Device) -> UInt64 {
    place(of: device).map { tallies[$0].seenCount } ?? 0
  }

  /// Whether all clusters of the device have arrived (of `vmstate`, as many as its size says).
  public func isComplete(_ device: ArchiveHeader.Device) -> Bool {
    place(of: device).map { tallies[$0].isComplete } ?? false
  }

  /// The final length of the device in bytes: its size, or for `vmstate`, what has arrived.
  public func length(of device: ArchiveHeader.Device) -> UInt64 {
    guard let place = place(of: device) else { return 0 }
    let tally = tallies[place]
    return tally.device.isVMState
      ? tally.end * UInt64(VMAFormat.clusterSize) : tally.device.size
  }

  /// - Throws: `FormatError` with the code `incomplete` for the first device that is not complete.
  public func checkComplete(_ devices: [ArchiveHeader.Device]) throws(FormatError) {
    for device in devices {
      guard let place = place(of: device) else {
        throw FormatError(.unknownDevice, "device \(device.id) does not exist")
      }
      guard !tallies[place].isComplete else { continue }
      let count = tallies[place].neededCount - tallies[place].seenCount
      let first = next(seen: false, of: device, from: 0) ?? 0
      throw FormatError(
        .incomplete,
        "archive is incomplete: \(String(decoding: device.name, as: UTF8.self)) lacks "
          + "\(count) cluster\(count == 1 ? "" : "s"), the first at byte "
          + "\(first * UInt64(VMAFormat.clusterSize))")
    }
  }

  /// The first cluster at or after `cluster` that has arrived (or, with `seen` false, that has
  /// not); nil if there is none up to the end of the device.
  package func next(
    seen: Bool, of device: ArchiveHeader.Device, from cluster: UInt64, below limit: UInt64? = nil
  ) -> UInt64? {
    // In place: a copy of the tally would make the next insertion copy its set.
    guard let index = place(of: device) else { return nil }
    let end = tallies[index].neededCount
    let limit = min(limit ?? end, end)
    guard cluster < limit else { return nil }
    let found =
      if tallies[index].isStream {
        seen
          ? (cluster < tallies[index].seenCount ? cluster : limit)
          : max(cluster, tallies[index].seenCount)
      } else {
        tallies[index].seen.next(from: cluster, limit: limit, inSet: seen)
      }
    return found < limit ? found : nil
  }

  /// The clusters of the device that have arrived; not for a `vmstate` that must arrive in order.
  package func clusters(of device: ArchiveHeader.Device) -> ClusterSet {
    place(of: device).map { tallies[$0].seen } ?? ClusterSet(denseCount: nil)
  }

  /// Checks that an archive is long enough for all clusters of some devices.
  ///
  /// - Parameter size: bytes of the archive after its header.
  package static func checkExtentBytes(
    _ size: UInt64, for devices: [ArchiveHeader.Device]
  ) throws(FormatError) {
    let extents = devices.clusterCount.dividedRoundingUp(by: UInt64(VMAFormat.slotsPerExtent))
    let (product, overflows) = extents.multipliedReportingOverflow(
      by: UInt64(VMAFormat.extentHeaderSize))
    let needed = overflows ? .max : product
    guard size >= needed else {
      throw FormatError(
        .incomplete,
        "archive is incomplete: its disks need at least \(needed) bytes of extents, "
          + "\(size) present")
    }
  }
}
