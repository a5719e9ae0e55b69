// SPDX-License-Identifier: Apache-2.0

import Synchronization
import System
import VMA

@testable import TapTool

/// A spill file in memory, which can be full, fail, hang or return wrong data.
final class MemoryStorage: SpillStorage {
  struct State {
    var slots: [Int: Buffer] = [:]
    /// Clusters written so far.
    var writeCount = 0
    var mostSlots = 0
    var isCleared = false
    /// The result of the next writes.
    var failure: Failure?
    /// Reads return other data.
    var lies = false
  }

  let name = "spill file in memory"
  let limit: UInt64
  let state = Mutex(State())
  /// Closed while writes hang.
  let gate = Gate()

  init(slots: Int) { limit = UInt64(slots * VMAFormat.clusterSize) }

  func write(_ buffer: Buffer, _ range: Range<Int>, toSlot slot: Int) throws(Failure) {
    gate.pass()
    let copy = try Buffer(capacity: range.count)
    copy.copy(from: buffer, range, to: 0)
    try state.withLock { (state) throws(Failure) in
      state.writeCount += 1
      if let failure = state.failure { throw failure }
      precondition(state.slots[slot] == nil, "slot \(slot) is in use")
      state.slots[slot] = copy
      state.mostSlots = max(state.mostSlots, state.slots.count)
    }
  }

  func read(into buffer: Buffer, _ range: Range<Int>, fromSlot slot: Int) throws(Failure) {
    let (bytes, lies) = state.withLock { ($0.slots[slot], $0.lies) }
    guard let bytes, bytes.capacity == range.count else {
      throw Failure(.inputOutput, "\(name): short")
    }
    buffer.copy(from: bytes, 0..<range.count, to: range.lowerBound)
    if lies { buffer.fillWithZeros(range.lowerBound + 500..<range.lowerBound + 501) }
  }

  func free(slot: Int) { _ = state.withLock { $0.slots.removeValue(forKey: slot) } }

  func clear() {
    state.withLock {
      $0.slots = [:]
      $0.isCleared = true
    }
  }
}

/// Threads wait while it is closed.
final class Gate: @unchecked Sendable {
  private let monitor = Monitor()
  private var isClosed = false

  func close() { set(true) }
  func open() { set(false) }

  func pass() {
    monitor.withLock { while isClosed { monitor.wait() } }
  }

  private func set(_ closed: Bool) {
    monitor.withLock {
      isClosed = closed
      monitor.wakeAll()
    }
  }
}
