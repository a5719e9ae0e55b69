// SPDX-License-Identifier: Apache-2.0

import Archives
import ChangedBlocks
import System
import VMA

/// Copy-before-write: creates an archive of all disks at the same point in time, from the records
/// of a producer and from the disks themselves.
///
/// Why no old data is lost: one thread reads the records and the disks, and answers; nothing here
/// happens concurrently. If answers are enabled, the producer holds each guest write to such a disk
/// until the record that announces it is answered, and no write was in progress at the point in
/// time. So:
///
/// 1. A cluster is read from the disk only while it is not *known*; once read, it is known and
///    never read again.
/// 2. An answer is written only after every cluster of its range is known. A read ends before its
///    thread does anything else, so no read of these clusters is in progress then, and by 1 none
///    begins after it.
/// 3. The write happens after its answer. So every read of a cluster ended before the first write
///    to it since the point in time, and returned the data of that point in time.
///
/// This holds for any timing. An event that arrives during a read waits in the pipe, and its write
/// with it, until the read has ended and the event was processed. Of two events for one cluster,
/// the second finds it known. Sectors from `oldData` replace what is read, in the same step. A
/// finish needs no special handling, because no read outlasts the step that started it.
///
/// Without answers nothing is held, so a disk is read only after its `finish`, which promises that
/// it is no longer written. Data that was sent before replaces what is read.
final class CopyBeforeWrite {
  /// A device and its state.
  private final class Disk {
    let id: UInt8
    let name: [UInt8]
    let size: UInt64
    let clusterCount: UInt64
    let source: (any CopySource)?
    let isState: Bool
    /// Clusters that are in the archive, or in the extent being filled.
    private var known: ClusterSet
    private(set) var knownCount: UInt64 = 0
    /// Where copying continues; all clusters before are known.
    var next: UInt64 = 0
    var isFinished = false
    var isCompletionSent = false
    /// The last range of data (or of a hole) that the source reported. It is still correct for all
    /// clusters that are not known: they were not written to.
    var data: Range<UInt64>?
    var isDataKnownFrom: UInt64?

    init(_ device: StreamGrammar.Device, source: (any CopySource)?, isDense: Bool) {
      id = device.id
      name = device.name
      size = device.size
      clusterCount =
        (device.size + UInt64(VMAFormat.clusterSize) - 1) / UInt64(VMAFormat.clusterSize)
      isState = device.isState
      self.source = source
      known = ClusterSet(denseCount: isDense && !isState ? clusterCount : nil)
    }

    var isComplete: Bool { knownCount >= clusterCount }

    func learn(_ clusters: Range<UInt64>) {
      for cluster in clusters { if known.insert(cluster) { knownCount += 1 } }
    }

    /// The first cluster from `cluster` on, below `limit`, that is not known.
    func firstUnknown(from cluster: UInt64, below limit: UInt64? = nil) -> UInt64? {
      let limit = limit ?? clusterCount
      let found = known.next(from: cluster, limit: limit, inSet: false)
      return found < limit ? found : nil
    }

    /// Unknown clusters from `cluster` on, up to the next known one.
    func unknownRun(from cluster: UInt64, limit: UInt64) -> Range<UInt64> {
      cluster..<known.next(from: cluster, limit: limit, inSet: true)
    }
  }

  /// Clusters copied from a disk between two checks of the stream; a guest write waits for that
  /// long.
  private static let copyCount: UInt64 = 4

  /// Clusters of zeros added between two such checks.
  private static let zeroCount = UInt64(VMAFormat.slotsPerExtent)

  /// Records processed before some clusters are copied even if more records wait: a guest that
  /// always writes must not prevent its disk from being copied.
  private static let recordCount = 64

  /// Milliseconds between two checks for space while the storage is slow and no record arrives.
  /// Copying never waits for space, and leaves some, so that guest writes need not wait for the
  /// storage.
  private static let pause: Int32 = 2

  private let input: EventInput
  private let queue: ExtentQueue
  private let disks: [Disk]
  private let partial: PartialClusters
  private let answer: ((Answer) throws -> Void)?
  private let scratch: Buffer
  private let stateBuffer: Buffer
  private var stateCount = 0

  /// Sectors that were sent again, after the first record for them.
  private(set) var repeatedSectors: UInt64 = 0
  /// Records that a guest write caused.
  private(set) var guestRecords: UInt64 = 0

  /// - Parameters:
  ///   - input: read up to and including `begin`.
  ///   - sources: the disks to copy from, by the ID of their device.
  ///   - answer: writes an answer; nil if the producer does not wait for any.
  ///   - directory: for temporary data.
  ///   - partialCount: the number of partly known clusters that stay in memory.
  init(
    _ input: EventInput, sources: [UInt8: any CopySource], queue: ExtentQueue,
    answer: ((Answer) throws -> Void)?, directory: String?, partialCount: Int = 128
  ) throws {
    scratch = try Buffer(capacity: 1 << 20)
    stateBuffer = try Buffer(capacity: VMAFormat.clusterSize)
    self.input = input
    self.queue = queue
    self.answer = answer
    let devices = input.grammar.devices
    // Claimed sizes must not cost memory: 254 devices can claim 64 PiB.
    let claimed = devices.reduce(0) { $0 + $1.size / UInt64(VMAFormat.clusterSize) }
    let isDense = claimed <= 1 << 26
    if isDense { try Host.requireMemory(Int(claimed / 8)) }
    disks = devices.map { Disk($0, source: sources[$0.id], isDense: isDense) }
    partial = try PartialClusters(directory: directory, heldCount: partialCount)
  }

  /// Reads the stream from `begin` to its end, and copies the disks meanwhile.
  func run() throws {
    var taken = 0
    while !input.grammar.hasEnded {
      let disk = diskToCopy()
      if let disk, queue.hasRoomToSpare, try taken >= Self.recordCount || !input.isReady() {
        try copy(disk)
        taken = 0
      } else if try disk == nil || input.isReady(within: Self.pause) {
        try take(try input.next())
        taken += 1
      }
      try sendCompletions()
    }
    while let disk = diskToCopy() {
      try copy(disk)
      // The stream is complete, so a producer that no longer reads is not an error.
      try? sendCompletions()
    }
    try input.checkEnd()
  }

  /// A disk that may be read now and is not complete.
  private func diskToCopy() -> Disk? {
    disks.first { $0.source != nil && !$0.isComplete && (answer != nil || $0.isFinished) }
  }

  private func sendCompletions() throws {
    guard let answer else { return }
    for disk in disks where disk.source != nil && disk.isComplete && !disk.isCompletionSent {
      disk.isCompletionSent = true
      try answer(.complete(device: disk.id))
    }
  }

  // MARK: Records

  private func take(_ record: Record) throws {
    if record.isCausedByGuest { guestRecords += 1 }
    guard let disk = disks.first(where: { $0.id == record.device }) else { return }
    let range = record.offset..<record.offset + record.length
    switch record.kind {
    case .oldData, .zeros:
      let isZero = record.kind == .zeros
      try tell(disk, range, isZero: isZero, isEarly: record.isCausedByGuest)
    case .write:
      guard answer != nil, disk.source != nil else {
        throw input.failure(.cannotHold(disk.id))
      }
      try secure(disk, range)
    case .state:
      try takeState(disk, record.payloadSize)
    case .finish:
      try finish(disk)
    case .config, .device, .begin, .end, .abort:
      break
    }
    if [.oldData, .zeros, .write].contains(record.kind), disk.source != nil {
      try answer?(.safe(sequence: record.sequence))
    }
  }

  private static func clusters(_ range: Range<UInt64>) -> Range<UInt64> {
    let size = UInt64(VMAFormat.clusterSize)
    return range.lowerBound / size..<range.upperBound.dividedRoundingUp(by: size)
  }

  /// Copies an entire range from the disk to the archive.
  private func secure(_ disk: Disk, _ range: Range<UInt64>) throws {
    let clusters = Self.clusters(range)
    var next = clusters.lowerBound
    while let cluster = disk.firstUnknown(from: next, below: clusters.upperBound) {
      next = try copy(disk, from: cluster, limit: clusters.upperBound, isHeld: true)
    }
  }

  /// Processes the content of a range from the stream, for each sector that is not known yet.
  ///
  /// - Parameter isEarly: whether a guest write caused it, so that it comes out of order.
  private func tell(
    _ disk: Disk, _ range: Range<UInt64>, isZero: Bool, isEarly: Bool
  ) throws {
    let size = UInt64(VMAFormat.clusterSize)
    var offset = range.lowerBound
    while offset < range.upperBound {
      let cluster = offset / size
      guard let unknown = disk.firstUnknown(from: cluster, below: Self.clusters(range).upperBound)
      else {
        try pass(range.upperBound - offset, isZero: isZero)
        return
      }
      if unknown > cluster {
        // The first record arrived before, possibly long ago.
        try pass(unknown * size - offset, isZero: isZero)
        offset = unknown * size
        continue
      }
      let end = min(range.upperBound, (cluster + 1) * size)
      let isWhole = offset == cluster * size && end == min((cluster + 1) * size, disk.size)
      if isWhole, try !partial.contains(device: disk.id, cluster: cluster) {
        offset = try tellWhole(
          disk, cluster, range.upperBound, isZero: isZero, isEarly: isEarly)
      } else {
        try tellPart(disk, cluster, offset..<end, isZero: isZero, isEarly: isEarly)
        offset = end
      }
    }
  }

  /// Copies complete clusters directly from the stream to their place in an extent.
  ///
  /// - Returns: the byte up to which the record was used.
  private func tellWhole(
    _ disk: Disk, _ cluster: UInt64, _ end: UInt64, isZero: Bool, isEarly: Bool
  ) throws -> UInt64 {
    let size = UInt64(VMAFormat.clusterSize)
    guard isZero else {
      let length = Int(min(end, (cluster + 1) * size, disk.size) - cluster * size)
      let place = queue.place(for: 1)
      try input.readPayload(into: queue.buffer, place.lowerBound..<place.lowerBound + length)
      queue.buffer.fillWithZeros(place.lowerBound + length..<place.upperBound)
      try queue.add(cluster..<cluster + 1, device: disk.id, at: place, isEarly: isEarly)
      disk.learn(cluster..<cluster + 1)
      return cluster * size + UInt64(length)
    }
    // Only complete clusters without any known sector, in parts.
    let whole = end >= disk.size ? disk.clusterCount : end / size
    var run = disk.unknownRun(from: cluster, limit: min(whole, cluster + Self.zeroCount))
    if let first = try run.first(where: { try partial.contains(device: disk.id, cluster: $0) }) {
      run = run.lowerBound..<first
    }
    try queue.add(zeros: run, device: disk.id, isEarly: isEarly)
    disk.learn(run)
    return min(run.upperBound * size, end)
  }

  /// A part of a cluster: it waits for the rest, which is sent later or read from the disk.
  private func tellPart(
    _ disk: Disk, _ cluster: UInt64, _ range: Range<UInt64>, isZero: Bool, isEarly: Bool
  ) throws {
    let start = cluster * UInt64(VMAFormat.clusterSize)
    let part = Int(range.lowerBound - start)..<Int(range.upperBound - start)
    let before = try partial.map(device: disk.id, cluster: cluster)
    addRepeated(UInt64((before & PartialClusters.sectors(part)).nonzeroBitCount))
    if !isZero { try input.readPayload(into: scratch, 0..<part.count) }
    let map = try partial.merge(
      device: disk.id, cluster: cluster, part, from: isZero ? nil : (scratch, 0))
    let inDisk = Int(min(UInt64(VMAFormat.clusterSize), disk.size - start))
    if map == PartialClusters.sectors(0..<inDisk) {
      try addPartial(disk, cluster, isEarly: isEarly)
    } else if answer != nil, disk.source != nil {
      // The write is held, so the rest can be read now, but not later.
      _ = try copy(disk, from: cluster, limit: cluster + 1, isHeld: true)
    }
  }

  /// A cluster of which every sector was sent.
  private func addPartial(_ disk: Disk, _ cluster: UInt64, isEarly: Bool) throws {
    let place = queue.place(for: 1)
    queue.buffer.fillWithZeros(place)
    try partial.take(
      device: disk.id, cluster: cluster, into: queue.buffer, at: place.lowerBound)
    try queue.add(cluster..<cluster + 1, device: disk.id, at: place, isEarly: isEarly)
    disk.learn(cluster..<cluster + 1)
  }

  /// Skips sectors that were sent before.
  private func pass(_ count: UInt64, isZero: Bool) throws {
    addRepeated(count / UInt64(StreamFormat.sectorSize))
    if !isZero { try input.skipPayload(Int(count), scratch: scratch) }
  }

  /// A stream can state in a few bytes that 256 TiB are zeros, as often as it likes.
  private func addRepeated(_ sectors: UInt64) {
    let (sum, overflow) = repeatedSectors.addingReportingOverflow(sectors)
    repeatedSectors = overflow ? .max : sum
  }

  private func takeState(_ disk: Disk, _ size: Int) throws {
    var rest = size
    while rest > 0 {
      let part = min(rest, VMAFormat.clusterSize - stateCount)
      try input.readPayload(into: stateBuffer, stateCount..<stateCount + part)
      stateCount += part
      rest -= part
      if stateCount == VMAFormat.clusterSize { try addState(disk) }
    }
  }

  private func addState(_ disk: Disk) throws {
    guard disk.next <= UInt64(UInt32.max) else {
      throw input.failure(.size(disk.next * UInt64(VMAFormat.clusterSize)))
    }
    let place = queue.place(for: 1)
    queue.buffer.copy(from: stateBuffer, 0..<stateCount, to: place.lowerBound)
    queue.buffer.fillWithZeros(place.lowerBound + stateCount..<place.upperBound)
    try queue.add(disk.next..<disk.next + 1, device: disk.id, at: place)
    disk.learn(disk.next..<disk.next + 1)
    disk.next += 1
    stateCount = 0
  }

  private func finish(_ disk: Disk) throws {
    disk.isFinished = true
    if disk.isState, stateCount > 0 { try addState(disk) }
    guard disk.source == nil, !disk.isComplete else { return }
    // Everything had to be sent.
    let cluster = disk.firstUnknown(from: 0) ?? disk.knownCount
    let map = try partial.map(device: disk.id, cluster: cluster)
    let sector = UInt64((~map).trailingZeroBitCount * StreamFormat.sectorSize)
    throw input.failure(
      .gap(name: disk.name, byte: cluster * UInt64(VMAFormat.clusterSize) + sector))
  }

  // MARK: Copying

  private func copy(_ disk: Disk) throws {
    guard let cluster = disk.firstUnknown(from: disk.next) else { return }
    disk.next = try copy(disk, from: cluster, limit: disk.clusterCount)
  }

  /// Copies some clusters from the disk, none of which is known: as many consecutive ones as
  /// possible without delaying a guest.
  ///
  /// - Parameter isHeld: whether a guest write waits. Then only these clusters are read, without
  ///   any other query: finding holes can take longer than reading.
  /// - Returns: the cluster after the last that is known now.
  private func copy(
    _ disk: Disk, from cluster: UInt64, limit: UInt64, isHeld: Bool = false
  ) throws -> UInt64 {
    guard let source = disk.source else { return limit }
    let size = UInt64(VMAFormat.clusterSize)
    var run = disk.unknownRun(from: cluster, limit: min(limit, cluster + Self.zeroCount))
    let hole = try holeEnd(disk, source, from: cluster, isHeld: isHeld)
    if hole <= cluster, run.count > Self.copyCount {
      run = cluster..<cluster + Self.copyCount
    } else if hole > cluster {
      run = cluster..<min(run.upperBound, hole)
    }
    if let told = try run.first(where: { try partial.contains(device: disk.id, cluster: $0) }) {
      // Sectors that were sent replace what is read, alone in the next place.
      run = told == cluster ? cluster..<cluster + 1 : cluster..<told
    }
    let isTold = try partial.contains(device: disk.id, cluster: cluster)
    if hole > cluster, !isTold {
      try queue.add(zeros: run, device: disk.id, isEarly: isHeld)
    } else {
      let place = queue.place(for: run.count)
      run = cluster..<cluster + UInt64(place.count) / size
      if !isTold {
        try source.read(into: queue.buffer, place, at: cluster * size)
      } else {
        try readUntold(disk, source, cluster, into: queue.buffer, place)
        try partial.take(
          device: disk.id, cluster: cluster, into: queue.buffer, at: place.lowerBound)
      }
      try queue.add(run, device: disk.id, at: place, isEarly: isHeld)
    }
    disk.learn(run)
    Progress.current.add(UInt64(run.count) * size)
    return run.upperBound
  }

  /// Reads the sectors of a cluster that were not sent. The others may no longer exist: a disk may
  /// shrink once its tail was sent.
  private func readUntold(
    _ disk: Disk, _ source: any CopySource, _ cluster: UInt64, into buffer: Buffer,
    _ place: Range<Int>
  ) throws {
    buffer.fillWithZeros(place)
    let start = cluster * UInt64(VMAFormat.clusterSize)
    let inDisk = Int(min(UInt64(VMAFormat.clusterSize), disk.size - start))
    let untold =
      PartialClusters.sectors(0..<inDisk)
      & ~(try partial.map(device: disk.id, cluster: cluster))
    try untold.forEachRun { sectors in
      let first = sectors.lowerBound * StreamFormat.sectorSize
      let end = sectors.upperBound * StreamFormat.sectorSize
      try source.read(
        into: buffer, place.lowerBound + first..<place.lowerBound + end, at: start + UInt64(first))
    }
  }

  /// The first cluster from `cluster` on that contains data, as far as the source reports that.
  ///
  /// - Parameter isHeld: does not query the source, and treats ranges that it has not reported as
  ///   data.
  private func holeEnd(
    _ disk: Disk, _ source: any CopySource, from cluster: UInt64, isHeld: Bool
  ) throws -> UInt64 {
    let offset = cluster * UInt64(VMAFormat.clusterSize)
    let isAsked =
      disk.isDataKnownFrom.map { $0 <= offset } ?? false
      && (disk.data.map { offset < $0.upperBound } ?? true)
    if !isAsked {
      // A query would also discard the state of sequential copying.
      guard !isHeld else { return cluster }
      disk.data = try source.data(from: offset)
      disk.isDataKnownFrom = offset
    }
    return (disk.data?.lowerBound).map { $0 / UInt64(VMAFormat.clusterSize) } ?? disk.clusterCount
  }
}
