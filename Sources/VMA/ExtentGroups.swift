// SPDX-License-Identifier: Apache-2.0

/// Assigns clusters to extents, so that the same disk gives the same extents, whatever its neighbors
/// and whatever came early.
///
/// The clusters of a disk form groups of 59: group g holds the clusters 59g to 59g + 58. Each group
/// is an extent. While a disk is copied in order, only two groups of it are open: the *window*. A
/// cluster that comes before the window reaches it is *early*: it goes to an extent with other early
/// clusters of any disks, and its group does without it.
struct ExtentGroups: Sendable {
  private static let groupSize = UInt64(VMAFormat.slotsPerExtent)
  /// Open groups of a disk: programs that copy with several requests do not keep the exact order.
  private static let windowSize: UInt64 = 2
  /// Clusters by which copying in order may skip ahead.
  private static let reach: UInt64 = 16
  /// Clusters outside of the window after which it moves to them.
  private static let missLimit = 2 * VMAFormat.slotsPerExtent
  /// Digests follow every so many groups of a disk. One less than digests can cover: early clusters
  /// do not move the digests of all that follows.
  private static let sectionSize = UInt64(ExtentDigests.capacity - 1)

  private struct Disk: Sendable {
    let device: ArchiveHeader.Device
    /// The first group of the window.
    var front: UInt64 = 0
    /// The open groups in the window, ascending.
    var open: [(group: UInt64, extent: OpenExtent)] = []
    /// The last cluster in the window that was not marked as early.
    var last: UInt64 = 0
    /// Consecutive clusters outside of the window.
    var missCount = 0
    /// Whether all clusters came in order so far.
    var isInOrder = true
    var next: UInt64 = 0

    /// The last group of the device; nil if that is not known.
    var endGroup: UInt64? {
      device.isVMState ? nil : (device.clusterCount - 1) / ExtentGroups.groupSize
    }
  }

  private var disks: [Disk]
  /// For each device id the index of its disk.
  private var index = [Int](repeating: 0, count: 256)
  private var early = OpenExtent()
  private var closed: [OpenExtent] = []
  /// Clusters with blocks in all extents.
  private(set) var heldCount = 0
  private var openCount = 0

  /// - Parameter devices: whose clusters the census accepts.
  init(_ devices: [ArchiveHeader.Device]) {
    disks = devices.map { Disk(device: $0) }
    for (place, device) in devices.enumerated() { index[Int(device.id)] = place }
  }

  /// Adds a cluster.
  ///
  /// - Parameters:
  ///   - isEarly: whether the cluster certainly comes out of order.
  ///   - census: of all clusters, including this one.
  mutating func add(
    _ slot: ExtentHeader.Slot, at position: Int, isEarly: Bool, _ census: ClusterCensus
  ) {
    let disk = index[Int(slot.device)]
    let cluster = UInt64(slot.cluster)
    if slot.mask != 0 { heldCount += 1 }
    if cluster == disks[disk].next {
      disks[disk].next += 1
    } else {
      disks[disk].isInOrder = false
    }
    let group = cluster / Self.groupSize
    guard reaches(cluster..<cluster + 1, of: disk, isEarly: isEarly, census) else {
      if early.count == 0 { openCount += 1 }
      early.add(slot, at: position)
      if early.count == VMAFormat.slotsPerExtent { closeEarly() }
      return
    }
    let place = openGroup(group, of: disk)
    disks[disk].open[place].extent.add(slot, at: position)
    if isComplete(place, of: disk, cluster, census) {
      close(place, of: disk)
      advance(disk, census)
    }
  }

  /// Adds consecutive clusters of zeros of one group.
  ///
  /// - Parameter census: of all clusters, including these.
  mutating func add(
    zeros clusters: Range<UInt64>, device: UInt8, isEarly: Bool, _ census: ClusterCensus
  ) {
    guard let last = clusters.last else { return }
    let disk = index[Int(device)]
    let group = last / Self.groupSize
    guard reaches(clusters, of: disk, isEarly: isEarly, census) else {
      for cluster in clusters {
        let slot = ExtentHeader.Slot(device: device, cluster: UInt32(cluster), mask: 0)
        add(slot, at: 0, isEarly: true, census)
      }
      return
    }
    if clusters.lowerBound == disks[disk].next {
      disks[disk].next = clusters.upperBound
    } else {
      disks[disk].isInOrder = false
    }
    let place = openGroup(group, of: disk)
    disks[disk].open[place].extent.add(zeros: clusters, device: device)
    if isComplete(place, of: disk, last, census) {
      close(place, of: disk)
      advance(disk, census)
    }
  }

  /// Whether clusters of one group are in the window, which may have to move for that.
  private mutating func reaches(
    _ clusters: Range<UInt64>, of disk: Int, isEarly: Bool, _ census: ClusterCensus
  ) -> Bool {
    let group = clusters.lowerBound / Self.groupSize
    func isInWindow() -> Bool {
      group >= disks[disk].front && group < disks[disk].front + Self.windowSize
    }
    // The clusters of `vmstate` are never early.
    if disks[disk].device.isVMState {
      disks[disk].front = group
      return true
    }
    if !isInWindow(), group >= disks[disk].front { advance(disk, census) }
    if isInWindow() {
      if !isEarly {
        disks[disk].missCount = 0
        disks[disk].last = clusters.upperBound - 1
      }
      return true
    }
    guard !isEarly else { return false }
    disks[disk].missCount += 1
    if group == disks[disk].front + Self.windowSize,
      clusters.lowerBound <= disks[disk].last + Self.reach
    {
      // Copying continues, although a cluster of the first group is missing.
      if disks[disk].open.first?.group == disks[disk].front { close(0, of: disk) }
      disks[disk].front += 1
    } else if disks[disk].missCount > Self.missLimit {
      // Copying continues elsewhere.
      while !disks[disk].open.isEmpty { close(0, of: disk) }
      disks[disk].front = group
    } else {
      return false
    }
    disks[disk].missCount = 0
    disks[disk].last = clusters.upperBound - 1
    return true
  }

  /// Moves the window to the first group that lacks a cluster.
  private mutating func advance(_ disk: Int, _ census: ClusterCensus) {
    let start = disks[disk].front * Self.groupSize
    if let missing = census.next(seen: false, of: disks[disk].device, from: start) {
      disks[disk].front = missing / Self.groupSize
    }
  }

  /// - Returns: the index of the group among the open ones.
  private mutating func openGroup(_ group: UInt64, of disk: Int) -> Int {
    let place =
      disks[disk].open.firstIndex { $0.group >= group } ?? disks[disk].open.count
    if place == disks[disk].open.count || disks[disk].open[place].group != group {
      disks[disk].open.insert((group, OpenExtent()), at: place)
      openCount += 1
    }
    return place
  }

  /// Whether an open group has all clusters that did not come early.
  ///
  /// - Parameter cluster: the last one that was added.
  private func isComplete(
    _ place: Int, of disk: Int, _ cluster: UInt64, _ census: ClusterCensus
  ) -> Bool {
    let device = disks[disk].device
    let first = disks[disk].open[place].group * Self.groupSize
    let isLast = cluster + 1 == first + Self.groupSize
    // How many clusters `vmstate` has is not known before its end.
    guard !device.isVMState else { return isLast }
    if disks[disk].isInOrder { return isLast || cluster + 1 == device.clusterCount }
    return census.next(seen: false, of: device, from: first, below: first + Self.groupSize) == nil
  }

  private mutating func close(_ place: Int, of disk: Int) {
    var (group, extent) = disks[disk].open.remove(at: place)
    openCount -= 1
    extent.endsSection =
      (group + 1).isMultiple(of: Self.sectionSize) || group == disks[disk].endGroup
    extent.sort()
    closed.append(extent)
  }

  private mutating func closeEarly() {
    early.sort()
    closed.append(early)
    early = OpenExtent()
    openCount -= 1
  }

  /// Closes the open extent with most data.
  mutating func closeLargest() {
    var largest: (disk: Int, place: Int, heldCount: Int)?
    for disk in disks.indices {
      for place in disks[disk].open.indices {
        let heldCount = disks[disk].open[place].extent.heldCount
        if heldCount > largest?.heldCount ?? -1 { largest = (disk, place, heldCount) }
      }
    }
    if let largest, largest.heldCount >= early.heldCount {
      close(largest.place, of: largest.disk)
    } else if early.count > 0 {
      closeEarly()
    }
  }

  /// Closes all extents: those of the disks in their order, and then that of early clusters.
  mutating func closeAll() {
    for disk in disks.indices {
      while !disks[disk].open.isEmpty { close(0, of: disk) }
    }
    if early.count > 0 { closeEarly() }
  }

  /// The next closed extent.
  ///
  /// - Parameter withLast: whether to return the last extent that has clusters, too.
  mutating func nextClosed(withLast: Bool) -> OpenExtent? {
    guard !closed.isEmpty, withLast || closed.count + openCount > 1 else { return nil }
    let extent = closed.removeFirst()
    heldCount -= extent.heldCount
    return extent
  }
}
