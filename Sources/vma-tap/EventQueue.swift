// SPDX-License-Identifier: Apache-2.0

import ChangedBlocks
import DequeModule
import System
package import VMA

/// Something to report about a disk.
enum Event: Sendable {
  case zeros(device: UInt8, offset: UInt64, length: UInt64, isOfGuest: Bool)
  case data(Cluster)
}

/// The data of one cluster, with room for the headers of its records in the same buffer.
struct Cluster: Sendable {
  /// Bytes before the data.
  static let headroom = VMAFormat.blockSize
  static let capacity = headroom + VMAFormat.clusterSize

  var device: UInt8
  /// Bytes into the device.
  var offset: UInt64
  var length: Int
  /// Whether a write of the guest is known to be the cause.
  var isOfGuest: Bool
  let buffer: Buffer

  /// Where the data lies in the buffer.
  var range: Range<Int> { Self.headroom..<Self.headroom + length }
}

/// What waits to be written to the stream. Records come in any order there, so that what is
/// easiest to give is given first.
///
/// - Data waits in a fixed number of buffers. At the high mark the copying in the background is
///   paused; what comes then is what the guest's own writes are about to destroy.
/// - When half of the buffers are in use, a thread of its own moves data to the spill file. No
///   other thread ever waits for that file, except the writer for what it reads back.
/// - Zeros take a bit for each cluster, and never wait.
///
/// Only where all buffers are in use and the spill file is full, or does not keep up, does a
/// request wait for room; after `patience` seconds the backup fails and all that comes is dropped.
package final class EventQueue: @unchecked Sendable {
  /// A cluster in the spill file.
  private struct Spilled {
    var slot: Int
    var device: UInt8
    var isOfGuest: Bool
    var length: Int
    var offset: UInt64
    /// What was written must be what is read back, whatever became of it on the disk.
    var checksum: UInt64
  }

  /// Zeros of one device with one cause.
  private struct Zeros {
    var device: ArchiveHeader.Device
    var isOfGuest: Bool
    var pending: PendingZeros
  }

  /// Kept for the writer, which reads back what was spilled.
  private static let reserve = 16
  /// Buffers that keep their memory while they are not in use.
  private static let warmCount = 64
  /// Seconds until a spill file that was full is tried again.
  private static let retryInterval = 0.2

  private let monitor = Monitor()
  private let mailbox: Mailbox
  private let patience: Double
  private let spill: (any SpillStorage)?
  /// Wakes the thread that spills, which must not wake for each cluster.
  private let bell = Doorbell()

  private let bufferCount: Int
  private let highMark: Int
  private let lowMark: Int
  private let spillMark: Int
  /// Buffers that are not in use: those that were used last are still in a cache, and those of a
  /// rush of writes have given their memory back, but not their addresses.
  private var warm: [Buffer] = []
  private var cold: [Buffer]

  private var clusters: Deque<Cluster> = []
  private var zeros: [Zeros] = []
  private var zeroCount = 0
  private var nextZeros = 0

  private var spilled: Deque<Spilled> = []
  private var freeSlots: [Int] = []
  private var slotCount = 0
  /// What is being written to the spill file. The writer may take it all the same.
  private var spilling: Cluster?
  /// Whether the thread that spills is writing.
  private var isWriting = false
  /// Why the last cluster was not spilled.
  private var spillFailure: Failure?

  private var isAboveHighMark = false
  private var isFinished = false
  private var isDiscarding = false

  /// Bytes that went to the spill file in all.
  private var spilledBytes: UInt64 = 0
  /// Seconds.
  private var longestWait = 0.0

  /// Takes all the memory and threads that it will ever need.
  ///
  /// - Parameters:
  ///   - devices: in the order of their ids, from 1.
  ///   - spill: nil where nothing is to be spilled.
  ///   - patience: seconds that a request waits at most.
  ///   - bufferCount: for data that waits; nil for 16 MiB for each disk, and 32 MiB at least.
  package init(
    _ devices: [ArchiveHeader.Device], spill: (any SpillStorage)?, patience: Double,
    mailbox: Mailbox,
    bufferCount: Int? = nil
  ) throws {
    self.mailbox = mailbox
    self.patience = patience
    self.spill = spill
    let count = bufferCount ?? max(devices.count, 2) * (16 << 20) / VMAFormat.clusterSize
    self.bufferCount = count
    highMark = count / 4
    lowMark = count / 16
    spillMark = count / 2
    cold = try (0..<count + Self.reserve).map { _ in try Buffer(capacity: Cluster.capacity) }
    for device in devices {
      let clusterCount = Int(
        (device.size + UInt64(VMAFormat.clusterSize) - 1) / UInt64(VMAFormat.clusterSize))
      for isOfGuest in [false, true] {
        zeros.append(
          Zeros(
            device: device, isOfGuest: isOfGuest,
            pending: try PendingZeros(clusterCount: clusterCount)))
      }
    }
    guard let spill else { return }
    let clusterCount = devices.reduce(0) { $0 + $1.size / UInt64(VMAFormat.clusterSize) + 1 }
    let slots = Int(min(clusterCount, spill.limit / UInt64(VMAFormat.clusterSize)))
    spilled.reserveCapacity(slots)
    freeSlots.reserveCapacity(slots)
    _ = try Thread { [self] in moveToSpill(spill) }
  }

  // MARK: For the connections

  /// A buffer for one cluster, waiting for room.
  ///
  /// - Parameter hold: of the request that brings the cluster.
  /// - Returns: nil when nothing is written any more: what comes is to be dropped.
  func buffer(_ hold: Hold) -> Buffer? {
    monitor.withLock {
      while !isDiscarding, freeCount <= Self.reserve {
        let start = hold.waits()
        guard Host.uptime < start + patience else {
          let failure = failure()
          discardAll()
          monitor.withoutLock { mailbox.post(.outputFailed(failure)) }
          return nil
        }
        monitor.wait(until: start + patience)
        longestWait = max(longestWait, Host.uptime - start)
      }
      guard !isDiscarding else { return nil }
      let buffer = take()
      checkMarks()
      return buffer
    }
  }

  /// Gives back a buffer that is not needed after all.
  func giveBack(_ buffer: Buffer) {
    monitor.withLock {
      release(buffer)
      checkMarks()
    }
  }

  /// Appends data in a buffer that came from `buffer(_:)`.
  func append(_ cluster: Cluster) {
    monitor.withLock {
      if isDiscarding { return release(cluster.buffer) }
      clusters.append(cluster)
      monitor.wakeAll()
      if usedCount >= spillMark { bell.ring() }
    }
  }

  /// Appends a range of zeros, in whole clusters.
  func appendZeros(device: UInt8, offset: UInt64, length: UInt64, isOfGuest: Bool) {
    let size = UInt64(VMAFormat.clusterSize)
    let range = Int(offset / size)..<Int((offset + length).dividedRoundingUp(by: size))
    monitor.withLock {
      guard !isDiscarding else { return }
      let index = (Int(device) - 1) * 2 + (isOfGuest ? 1 : 0)
      let before = zeros[index].pending.count
      zeros[index].pending.insert(range)
      zeroCount += zeros[index].pending.count - before
      monitor.wakeAll()
    }
  }

  // MARK: For the writer

  /// The next events, waiting for one; `recycle` them.
  ///
  /// - Returns: nil at the end, or when the rest is dropped.
  /// - Throws: where the spill file does not give back what was written to it.
  func next(atMost count: Int) throws -> [Event]? {
    try monitor.withLock {
      while !isDiscarding {
        if zeroCount > 0 { return (0..<count).compactMap { _ in nextRunOfZeros() } }
        if !clusters.isEmpty {
          return (0..<count).compactMap { _ in clusters.popFirst().map { .data($0) } }
        }
        // Its buffer has it still. A disk that hangs must not keep it.
        if let cluster = spilling {
          spilling = nil
          return [.data(cluster)]
        }
        if !spilled.isEmpty { return try readBack(atMost: min(count, Self.reserve)) }
        if isFinished { return nil }
        monitor.wait()
      }
      return nil
    }
  }

  func recycle(_ batch: [Event]) {
    monitor.withLock {
      for case .data(let cluster) in batch { release(cluster.buffer) }
      checkMarks()
    }
  }

  // MARK: For the main thread

  /// No more will be appended.
  func finish() {
    monitor.withLock {
      isFinished = true
      monitor.wakeAll()
    }
    bell.ring()
  }

  /// Drops all that waits and all that will come; nobody waits here any more.
  func discard() {
    monitor.withLock { discardAll() }
  }

  /// Whether the rest is dropped, or has been.
  var isDiscarded: Bool {
    monitor.withLock { isDiscarding }
  }

  /// For a summary: bytes that went to the spill file, and the longest that a request has waited.
  var summary: (spilledBytes: UInt64, longestWait: Double) {
    monitor.withLock { (spilledBytes, longestWait) }
  }

  // MARK: The spill file

  /// Moves data to the spill file while more than half of the buffers are in use.
  private func moveToSpill(_ spill: any SpillStorage) {
    var retry: Double?
    monitor.withLock {
      while !isDiscarding, !isFinished {
        guard usedCount >= spillMark, retry.map({ $0 <= Host.uptime }) ?? true,
          let slot = takeSlot(of: spill), let cluster = clusters.popLast()
        else {
          monitor.withoutLock { bell.wait(until: retry) }
          continue
        }
        spilling = cluster
        isWriting = true
        let (checksum, outcome) = monitor.withoutLock {
          let checksum = cluster.buffer.checksum(cluster.range)
          let outcome = Result { () throws(Failure) in
            try spill.write(cluster.buffer, cluster.range, toSlot: slot)
          }
          return (checksum, outcome)
        }
        isWriting = false
        // Where not, the writer has taken it, or all is dropped.
        let isOurs = spilling != nil
        spilling = nil
        switch outcome {
        case .success:
          retry = nil
          spillFailure = nil
        case .failure(let failure):
          // Space may come back, and so may a disk.
          retry = Host.uptime + Self.retryInterval
          spillFailure = failure
        }
        if isOurs, spillFailure == nil {
          spilledBytes += UInt64(cluster.length)
          spilled.append(
            Spilled(
              slot: slot, device: cluster.device, isOfGuest: cluster.isOfGuest,
              length: cluster.length, offset: cluster.offset, checksum: checksum))
          release(cluster.buffer)
          checkMarks()
        } else {
          if isOurs { clusters.append(cluster) }
          monitor.withoutLock { spill.free(slot: slot) }
          freeSlots.append(slot)
        }
        monitor.wakeAll()
      }
    }
    if isDiscarded { spill.clear() }
  }

  private func takeSlot(of spill: any SpillStorage) -> Int? {
    guard !clusters.isEmpty else { return nil }
    if let slot = freeSlots.popLast() { return slot }
    guard !isFull(spill) else { return nil }
    defer { slotCount += 1 }
    return slotCount
  }

  private func isFull(_ spill: any SpillStorage) -> Bool {
    freeSlots.isEmpty && UInt64(slotCount + 1) * UInt64(VMAFormat.clusterSize) > spill.limit
  }

  /// Reads some clusters back, without the lock.
  private func readBack(atMost count: Int) throws -> [Event]? {
    guard let spill else { return nil }
    let entries = (0..<count).compactMap { _ in spilled.popFirst() }
    let buffers = entries.map { _ in take() }
    let outcome = monitor.withoutLock {
      Result {
        try zip(entries, buffers).map { entry, buffer in
          let cluster = Cluster(
            device: entry.device, offset: entry.offset, length: entry.length,
            isOfGuest: entry.isOfGuest, buffer: buffer)
          try spill.read(into: buffer, cluster.range, fromSlot: entry.slot)
          guard buffer.checksum(cluster.range) == entry.checksum else {
            throw Failure(
              .inputOutput, "\(spill.name): the data read differs from the data written")
          }
          spill.free(slot: entry.slot)
          return Event.data(cluster)
        }
      }
    }
    freeSlots += entries.map(\.slot)
    if usedCount >= spillMark { bell.ring() }
    if case .success(let events) = outcome, !isDiscarding { return events }
    for buffer in buffers { release(buffer) }
    return isDiscarding ? nil : try outcome.get()
  }

  // MARK: With the lock held

  private var freeCount: Int { warm.count + cold.count }
  private var usedCount: Int { bufferCount + Self.reserve - freeCount }

  /// One of the buffers that are not in use, of which there must be one.
  private func take() -> Buffer { warm.popLast() ?? cold.removeLast() }

  private func nextRunOfZeros() -> Event? {
    guard zeroCount > 0 else { return nil }
    while true {
      let index = nextZeros
      guard let run = zeros[index].pending.next() else {
        nextZeros = (index + 1) % zeros.count
        continue
      }
      zeroCount -= run.count
      let device = zeros[index].device
      let offset = UInt64(run.lowerBound * VMAFormat.clusterSize)
      return .zeros(
        device: device.id, offset: offset,
        length: min(UInt64(run.upperBound * VMAFormat.clusterSize), device.size) - offset,
        isOfGuest: zeros[index].isOfGuest)
    }
  }

  private func release(_ buffer: Buffer) {
    if warm.count < Self.warmCount {
      warm.append(buffer)
    } else {
      buffer.releaseMemory()
      cold.append(buffer)
    }
    monitor.wakeAll()
  }

  private func checkMarks() {
    if !isAboveHighMark, usedCount >= highMark {
      isAboveHighMark = true
      mailbox.post(.queueIsFull)
    } else if isAboveHighMark, usedCount <= lowMark, spilled.isEmpty, spilling == nil {
      isAboveHighMark = false
      mailbox.post(.queueIsLow)
    }
  }

  private func discardAll() {
    isDiscarding = true
    while let cluster = clusters.popFirst() { release(cluster.buffer) }
    if let spilling { release(spilling.buffer) }
    spilling = nil
    spilled = []
    zeroCount = 0
    monitor.wakeAll()
    bell.ring()
  }

  /// Why a request has waited for too long.
  private func failure() -> Failure {
    let seconds = Int(patience)
    let cause =
      if let spill {
        if let failure = spillFailure {
          "\(failure.message) (use --tmpdir)"
        } else if isFull(spill), !isWriting {
          "\(spill.name): is full: \(ByteCount(spill.limit)) (raise --spill-limit)"
        } else {
          "\(spill.name): its disk is too slow (use --tmpdir)"
        }
      } else {
        "the spill file is disabled (raise --spill-limit)"
      }
    return Failure(
      .inputOutput,
      "the reader of the stream is too slow: a guest write was held for \(seconds) seconds; \(cause)"
    )
  }
}

/// Wakes one thread.
private final class Doorbell: @unchecked Sendable {
  private let monitor = Monitor()
  private var hasRung = false

  func ring() {
    monitor.withLock {
      hasRung = true
      monitor.wakeAll()
    }
  }

  /// Waits for the bell, or until some time.
  func wait(until end: Double?) {
    monitor.withLock {
      while !hasRung {
        guard let end else {
          monitor.wait()
          continue
        }
        guard Host.uptime < end else { return }
        monitor.wait(until: end)
      }
      hasRung = false
    }
  }
}
