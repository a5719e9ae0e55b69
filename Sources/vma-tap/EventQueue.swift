// SPDX-License-Identifier: Apache-2.0

import ChangedBlocks
import FilterIO
import VMA

/// Something to tell of a disk.
enum Event: Sendable {
  case zeros(device: UInt8, offset: UInt64, length: UInt64, isOfGuest: Bool)
  case data(Cluster)
}

/// The data of one cluster, with room for the headers of its records in the same buffer.
struct Cluster: Sendable {
  /// Bytes before the data.
  static let headroom = Format.blockSize
  static let capacity = headroom + Format.clusterSize

  var device: UInt8
  /// Bytes into the device.
  var offset: UInt64
  var length: Int
  /// Whether a write of the guest is known to be the cause.
  var isOfGuest: Bool
  let buffer: Buffer
}

/// What waits to be written: the only place where data is held, and bounded.
///
/// Between the high mark, where the copying in the background is paused, and the limit, there is
/// room for what the guest's own writes bring; only beyond the limit does a guest wait for the
/// reader of the stream.
final class EventQueue: @unchecked Sendable {
  /// What an entry without data counts.
  private static let entryCost = 512

  private let monitor = Monitor()
  private let mailbox: Mailbox
  private let limit: Int
  private let highMark: Int
  private let lowMark: Int

  private var events: [Event] = []
  private var first = 0
  /// Bytes that wait or are being filled or written.
  private var used = 0
  private var isAboveHighMark = false
  private var free: [Buffer] = []
  private var isFinished = false
  private var isDiscarding = false

  /// Whether the rest is dropped, or has been.
  var isDiscarded: Bool {
    monitor.lock()
    defer { monitor.unlock() }
    return isDiscarding
  }

  /// - Parameter diskCount: 16 MiB of room for each disk, of which 4 are for the background.
  init(diskCount: Int, mailbox: Mailbox) {
    self.mailbox = mailbox
    limit = max(diskCount, 2) * (16 << 20)
    highMark = limit / 4
    lowMark = limit / 16
  }

  /// A buffer for one cluster, waiting for room.
  ///
  /// - Returns: nil when nothing is written any more: what comes is to be dropped.
  func buffer() -> Buffer? {
    do throws(Failure) {
      monitor.lock()
      defer { monitor.unlock() }
      guard waitForRoom(Cluster.capacity) else { return nil }
      if let buffer = free.popLast() { return buffer }
      return try Buffer(capacity: Cluster.capacity)
    } catch {
      // The guest must not hear of it: the backup fails, and its writes are dropped.
      discard()
      mailbox.post(.outputFailed(error))
      return nil
    }
  }

  /// Gives back a buffer that is not needed after all.
  func giveBack(_ buffer: Buffer) {
    monitor.lock()
    defer { monitor.unlock() }
    release(buffer)
  }

  /// Appends data in a buffer that came from `buffer()`.
  func append(_ cluster: Cluster) {
    monitor.lock()
    defer { monitor.unlock() }
    if isDiscarding { return release(cluster.buffer) }
    events.append(.data(cluster))
    monitor.wakeAll()
  }

  /// Appends a range of zeros, waiting for room.
  func appendZeros(device: UInt8, offset: UInt64, length: UInt64, isOfGuest: Bool) {
    monitor.lock()
    defer { monitor.unlock() }
    // A disk with large holes would fill the queue with what can be said in a word.
    if first < events.count, case .zeros(device, let start, let count, isOfGuest)? = events.last,
      start + count == offset
    {
      events[events.count - 1] = .zeros(
        device: device, offset: start, length: count + length, isOfGuest: isOfGuest)
      return
    }
    guard waitForRoom(Self.entryCost) else { return }
    events.append(
      .zeros(device: device, offset: offset, length: length, isOfGuest: isOfGuest))
    monitor.wakeAll()
  }

  /// The next events in order, waiting for one; `recycle` them.
  ///
  /// - Returns: nil at the end, or when the rest is dropped.
  func next(atMost count: Int) -> [Event]? {
    monitor.lock()
    defer { monitor.unlock() }
    while first == events.count {
      if isFinished || isDiscarding { return nil }
      monitor.wait()
    }
    let end = min(events.count, first + count)
    let batch = Array(events[first..<end])
    // What is taken stays in the array for a while, and must not keep its buffers from being freed.
    for index in first..<end {
      events[index] = .zeros(device: 0, offset: 0, length: 0, isOfGuest: false)
    }
    first = end
    if first == events.count {
      events.removeAll(keepingCapacity: true)
      first = 0
    } else if first >= 4096, first * 2 >= events.count {
      events.removeFirst(first)
      first = 0
    }
    return batch
  }

  func recycle(_ batch: [Event]) {
    monitor.lock()
    defer { monitor.unlock() }
    for event in batch {
      if case .data(let cluster) = event {
        release(cluster.buffer)
      } else {
        used -= Self.entryCost
      }
    }
    checkMarks()
    monitor.wakeAll()
  }

  /// No more will be appended.
  func finish() {
    monitor.lock()
    isFinished = true
    monitor.wakeAll()
    monitor.unlock()
  }

  /// Drops all that waits and all that will come; nobody waits here any more.
  func discard() {
    monitor.lock()
    defer { monitor.unlock() }
    isDiscarding = true
    for case .data(let cluster) in events[first...] { release(cluster.buffer) }
    events = []
    first = 0
    monitor.wakeAll()
  }

  // MARK: With the lock held

  private func waitForRoom(_ count: Int) -> Bool {
    while !isDiscarding, used + count > limit { monitor.wait() }
    guard !isDiscarding else { return false }
    used += count
    checkMarks()
    return true
  }

  private func release(_ buffer: Buffer) {
    used -= Cluster.capacity
    // The one that was used last is still in a cache. Those of a rush of writes go back.
    if free.count < 64 { free.append(buffer) }
    monitor.wakeAll()
  }

  private func checkMarks() {
    if !isAboveHighMark, used >= highMark {
      isAboveHighMark = true
      mailbox.post(.queueIsFull)
    } else if isAboveHighMark, used <= lowMark {
      isAboveHighMark = false
      mailbox.post(.queueIsLow)
    }
  }
}
