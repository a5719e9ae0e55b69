// SPDX-License-Identifier: Apache-2.0

import ChangedBlocks
import DequeModule
import System
package import VMA

/// Data or zeros of a disk, to be written to the stream.
enum Event: Sendable {
  case zeros(device: UInt8, offset: UInt64, length: UInt64, isOfGuest: Bool)
  case data(Cluster)
}

/// The data of one cluster, with space for the headers of its records in the same buffer.
struct Cluster: Sendable {
  /// The number of bytes before the data.
  static let headroom = VMAFormat.blockSize
  static let capacity = headroom + VMAFormat.clusterSize

  var device: UInt8
  /// The offset in the device, in bytes.
  var offset: UInt64
  var length: Int
  /// Whether a guest write is known to be the cause.
  var isOfGuest: Bool
  let buffer: Buffer

  /// Where the data is in the buffer.
  var range: Range<Int> { Self.headroom..<Self.headroom + length }
}

/// The events that are not written to the stream yet. Their order there does not matter, so the
/// cheapest ones are written first.
///
/// - Data waits in a fixed number of buffers. At the high mark, background copying is paused; all
///   further data is what guest writes are about to overwrite.
/// - While at least half of the buffers are in use, a thread of its own moves data to the spill
///   file. No other thread waits for that file, except the writer when it reads data back.
/// - Zeros take one bit for each cluster, and never wait.
///
/// If all buffers are in use and the spill file is full or too slow, a request waits for a free
/// buffer. After `patience` seconds the backup fails, and all further data is dropped.
package final class EventQueue: @unchecked Sendable {
  /// A cluster in the spill file.
  private struct Spilled {
    var slot: Int
    var device: UInt8
    var isOfGuest: Bool
    var length: Int
    var offset: UInt64
    /// Detects storage that does not return what was written to it.
    var checksum: UInt64
  }

  /// Zeros of one device with the same cause.
  private struct Zeros {
    var device: ArchiveHeader.Device
    var isOfGuest: Bool
    var pending: PendingZeros
  }

  /// Buffers reserved for the writer, which reads the spill file.
  private static let reserve = 16
  /// The number of unused buffers that keep their memory.
  private static let warmCount = 64
  /// Seconds until a full spill file is tried again.
  private static let retryInterval = 0.2

  private let monitor = Monitor()
  private let mailbox: Mailbox
  private let patience: Double
  private let spill: (any SpillStorage)?
  /// Wakes the spilling thread, so that not every cluster has to.
  private let bell = Doorbell()

  private let bufferCount: Int
  private let highMark: Int
  private let lowMark: Int
  private let spillMark: Int
  /// Unused buffers. The last ones used are still in a processor cache; those that were only needed
  /// for a burst of writes have released their memory, but not their addresses.
  private var warm: [Buffer] = []
  private var cold: [Buffer]

  private var clusters: Deque<Cluster> = []
  private var zeros: [Zeros] = []
  private var zeroCount = 0
  private var nextZeros = 0

  private var spilled: Deque<Spilled> = []
  private var freeSlots: [Int] = []
  private var slotCount = 0
  /// The cluster being written to the spill file. The writer may use it at the same time.
  private var spilling: Cluster?
  /// Whether the spilling thread is writing.
  private var isWriting = false
  /// Why the last cluster was not spilled.
  private var spillFailure: Failure?

  private var isAboveHighMark = false
  private var isFinished = false
  private var isDiscarding = false

  /// The total number of bytes written to the spill file.
  private var spilledBytes: UInt64 = 0
  /// In seconds.
  private var longestWait = 0.0

  /// Allocates all memory and starts all threads that it will ever need.
  ///
  /// - Parameters:
  ///   - devices: in the order of their IDs, from 1.
  ///   - spill: nil if nothing is spilled.
  ///   - patience: the maximum number of seconds that a request waits.
  ///   - bufferCount: the number of data buffers; nil for 16 MiB for each disk, at least 32 MiB.
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

  /// Waits for a free buffer for one cluster.
  ///
  /// - Parameter hold: of the request that contains the cluster.
  /// - Returns: nil if nothing is written any more: drop the data.
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

  /// Returns a buffer that is not needed after all.
  func giveBack(_ buffer: Buffer) {
    monitor.withLock {
      release(buffer)
      checkMarks()
    }
  }

  /// Appends data in a buffer from `buffer(_:)`.
  func append(_ cluster: Cluster) {
    monitor.withLock {
      if isDiscarding { return release(cluster.buffer) }
      clusters.append(cluster)
      monitor.wakeAll()
      if usedCount >= spillMark { bell.ring() }
    }
  }

  /// Appends zeros in whole clusters.
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

  /// Waits for events and returns the next ones; `recycle` them.
  ///
  /// - Returns: nil at the end, or if the rest is dropped.
  /// - Throws: if the spill file does not return what was written to it.
  func next(atMost count: Int) throws -> [Event]? {
    try monitor.withLock {
      while !isDiscarding {
        if zeroCount > 0 { return (0..<count).compactMap { _ in nextRunOfZeros() } }
        if !clusters.isEmpty {
          return (0..<count).compactMap { _ in clusters.popFirst().map { .data($0) } }
        }
        // It is still in its buffer, so a disk that hangs must not delay it.
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

  /// Nothing will be appended any more.
  func finish() {
    monitor.withLock {
      isFinished = true
      monitor.wakeAll()
    }
    bell.ring()
  }

  /// Drops all present and future events; no thread waits here any more.
  func discard() {
    monitor.withLock { discardAll() }
  }

  /// Whether events are dropped.
  var isDiscarded: Bool {
    monitor.withLock { isDiscarding }
  }

  /// For a summary: bytes written to the spill file, and the longest wait of a request.
  var summary: (spilledBytes: UInt64, longestWait: Double) {
    monitor.withLock { (spilledBytes, longestWait) }
  }

  // MARK: The spill file

  /// Moves data to the spill file while at least half of the buffers are in use.
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
        // Otherwise the writer has used it, or all is dropped.
        let isOurs = spilling != nil
        spilling = nil
        switch outcome {
        case .success:
          retry = nil
          spillFailure = nil
        case .failure(let failure):
          // Space may become available, and the storage may recover.
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

  /// Reads some clusters from the spill file, without holding the lock.
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

  /// An unused buffer; there must be one.
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

  /// Why a request has waited too long.
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

  /// Waits for the bell, at most until `end`.
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
