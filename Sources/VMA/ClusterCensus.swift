// SPDX-License-Identifier: Apache-2.0

/// Counts the clusters of an archive while its extents go by, since nothing else tells whether an
/// archive is whole: there is no end marker, and an archive cut between two extents looks sound.
///
/// Every cluster of every device must come exactly once; those of `vmstate` in order besides.
public struct ClusterCensus: Sendable {
  private struct Tally: Sendable {
    var device: Device
    var clusterCount: UInt64
    /// Blocks of the last cluster that lie within the device.
    var lastMask: UInt16
    var seen: ClusterSet
    var seenCount: UInt64 = 0
    /// Whether clusters come in order, and as many as there are: `vmstate`.
    var isStream: Bool
    /// The cluster after the last that came.
    var end: UInt64 = 0
  }

  /// Above 4 TiB of disks in all, a bit for each cluster claimed is no longer cheap.
  private static let denseLimit: UInt64 = 1 << 26

  /// Bytes that a census takes at the start, at most.
  public static func memory(for devices: [Device]) -> Int {
    let claimed = devices.reduce(UInt64(0)) { $0.addingSaturated($1.clusterCount) }
    return claimed <= denseLimit ? Int(claimed / 8) + 8 * devices.count : 0
  }

  private var tallies: [Tally]
  /// For each device id the index of its tally, or -1.
  private var index: [Int]

  /// - Parameters:
  ///   - devices: of the archive.
  ///   - isSalvaging: takes clusters of `vmstate` in any order, since some may be lost.
  public init(_ devices: [Device], isSalvaging: Bool = false) {
    let claimed = devices.reduce(UInt64(0)) { $0.addingSaturated($1.clusterCount) }
    tallies = []
    index = [Int](repeating: -1, count: 256)
    for device in devices {
      index[Int(device.id)] = tallies.count
      let blocks = device.size.dividedRoundingUp(by: UInt64(Format.blockSize))
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

  /// Takes in what an extent tells.
  ///
  /// - Throws: at the first slot that cannot be; slots before it are counted.
  public mutating func record(_ header: ExtentHeader) throws(Fault) {
    for slot in header.slots { try record(slot) }
  }

  /// Takes in one slot: its device must exist, its cluster and blocks lie within the device, and
  /// it must be the first of its cluster.
  public mutating func record(_ slot: Slot) throws(Fault) {
    let index = index[Int(slot.device)]
    guard index >= 0 else { throw .unknownDevice(slot.device) }
    let cluster = UInt64(slot.cluster)
    if tallies[index].isStream {
      guard cluster == tallies[index].seenCount else {
        throw .vmstateOrder(expected: tallies[index].seenCount, found: slot.cluster)
      }
    } else {
      if !tallies[index].device.isVMState {
        let count = tallies[index].clusterCount
        guard cluster < count else {
          throw .clusterBeyondEnd(device: slot.device, cluster: slot.cluster)
        }
        guard cluster + 1 < count || slot.mask & ~tallies[index].lastMask == 0 else {
          throw .blockBeyondEnd(device: slot.device, cluster: slot.cluster)
        }
      }
      guard tallies[index].seen.insert(cluster) else {
        throw .duplicateCluster(device: slot.device, cluster: slot.cluster)
      }
    }
    tallies[index].seenCount += 1
    tallies[index].end = max(tallies[index].end, cluster + 1)
  }

  /// Clusters of the device that have come.
  public func count(of device: Device) -> UInt64 {
    let index = index[Int(device.id)]
    return index < 0 ? 0 : tallies[index].seenCount
  }

  /// The first cluster at or after `cluster` that has come (or, with `seen` false, that has not);
  /// nil if there is none up to the end of the device.
  public func next(
    seen: Bool, of device: Device, from cluster: UInt64, below limit: UInt64? = nil
  ) -> UInt64? {
    // In place: a copy of the tally would make the next insertion copy its set.
    let index = index[Int(device.id)]
    guard index >= 0 else { return nil }
    let end =
      device.isVMState
      ? max(tallies[index].end, tallies[index].clusterCount) : tallies[index].clusterCount
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

  /// The clusters of the device that have come; not of a `vmstate` that must come in order.
  package func clusters(of device: Device) -> ClusterSet {
    let index = index[Int(device.id)]
    return index < 0 ? ClusterSet(denseCount: nil) : tallies[index].seen
  }

  /// Whether all clusters of the device have come (of `vmstate`, as many as its size says).
  public func isComplete(_ device: Device) -> Bool {
    count(of: device) >= clusterCount(of: device)
  }

  /// Clusters that the device must have; `vmstate` has all up to the last that came.
  private func clusterCount(of device: Device) -> UInt64 {
    max(device.clusterCount, device.isVMState ? end(of: device) : 0)
  }

  private func end(of device: Device) -> UInt64 {
    let index = index[Int(device.id)]
    return index < 0 ? 0 : tallies[index].end
  }

  /// The length in bytes that the device has in the end: its size, and of `vmstate` what came.
  public func length(of device: Device) -> UInt64 {
    device.isVMState ? end(of: device) * UInt64(Format.clusterSize) : device.size
  }

  /// - Throws: `Fault.missingClusters` for the first device that is not complete.
  public func checkComplete(_ devices: [Device]) throws(Fault) {
    for device in devices where !isComplete(device) {
      throw .missingClusters(
        name: device.name, count: clusterCount(of: device) - count(of: device),
        first: next(seen: false, of: device, from: 0) ?? 0)
    }
  }

  /// The least bytes that extents with all clusters of `devices` take.
  public static func leastExtentBytes(_ devices: [Device]) -> UInt64 {
    let clusters = devices.reduce(UInt64(0)) { $0.addingSaturated($1.clusterCount) }
    return clusters.dividedRoundingUp(by: UInt64(Format.slotsPerExtent))
      * UInt64(Format.extentHeaderSize)
  }
}
