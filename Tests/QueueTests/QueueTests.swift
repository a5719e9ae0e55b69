// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import System
import TestSupport
import Testing
import VMA

@testable import TapTool

@Suite("The queue of events for the stream", .serialized)
struct QueueTests {
  @Test("A5: while the reader is stopped, data goes to the spill file and nothing waits")
  func spills() throws {
    let storage = MemoryStorage(slots: 1000)
    let harness = try QueueHarness([100, 100], spill: storage)
    harness.gate.close()
    try harness.read()
    let run = try harness.bringAll(seed: 1)
    #expect(run.all && run.longest < 2, "\(run)")
    #expect(harness.seenCount <= 16)
    #expect(harness.queue.summary.spilledBytes > 100 << 16)
    harness.queue.finish()
    harness.gate.open()
    #expect(harness.waitForReader() == nil)
    harness.expectAll()
    // Its space is freed as it is read.
    #expect(storage.state.withLock { $0.slots.isEmpty && $0.mostSlots > 100 })
    #expect(harness.postedFailure() == nil)
  }

  @Test("A5: if the spill file is full, a request waits until there is space")
  func spillIsFull() throws {
    let storage = MemoryStorage(slots: 10)
    let harness = try QueueHarness([60, 60], spill: storage)
    harness.gate.close()
    try harness.read()
    let gate = harness.gate
    let opener = try System.Thread {
      Host.sleep(milliseconds: 500)
      gate.open()
    }
    let run = try harness.bringAll(seed: 2)
    opener.join()
    #expect(run.all && run.longest > 0.2, "\(run)")
    #expect(harness.queue.summary.longestWait > 0.2)
    harness.queue.finish()
    #expect(harness.waitForReader() == nil)
    harness.expectAll()
    #expect(storage.state.withLock { $0.mostSlots } == 10)
  }

  enum Trouble: CaseIterable {
    case none, limit, full, failing, hanging
  }

  @Test(
    "A5: after `patience` the backup fails, and all data is dropped", arguments: Trouble.allCases)
  func patience(trouble: Trouble) throws {
    let storage = MemoryStorage(slots: trouble == .limit ? 10 : 1000)
    let words: String
    switch trouble {
    case .none: words = "the spill file is disabled (raise --spill-limit)"
    case .limit: words = "is full: 640 KiB (raise --spill-limit)"
    case .full:
      words = "No space left on device (use --tmpdir)"
      storage.state.withLock {
        $0.failure = Failure(.inputOutput, "\(storage.name)", .noSpace)
      }
    case .failing:
      words = "Input/output error (use --tmpdir)"
      storage.state.withLock { $0.failure = Failure(.inputOutput, "\(storage.name)", .ioError) }
    case .hanging:
      words = "its disk is too slow (use --tmpdir)"
      storage.gate.close()
    }
    let harness = try QueueHarness(
      [60, 60], spill: trouble == .none ? nil : storage, patience: 1)
    harness.gate.close()
    try harness.read()
    let run = try harness.bringAll(seed: 3)
    #expect(!run.all && run.longest > 0.8 && run.longest < 5, "\(run)")
    #expect(harness.queue.isDiscarded)
    let failure = try #require(harness.postedFailure())
    #expect(failure.status == .inputOutput && failure.message.hasSuffix(words), "\(failure)")
    #expect(failure.message.contains("held for 1 seconds"))
    harness.gate.open()
    if trouble == .hanging { storage.gate.open() }
    #expect(harness.waitForReader() == nil)
  }

  /// One request of many clusters has one deadline, not one for each cluster.
  @Test("A5: a reader that reads a little now and then renews no deadline")
  func trickle() throws {
    let harness = try QueueHarness([400], spill: nil, patience: 1)
    try harness.read(atMost: 1) { Host.sleep(milliseconds: 150) }
    let hold = Hold()
    let start = Host.uptime
    var taken = 0
    while harness.bring(harness.devices[0], taken, hold) { taken += 1 }
    let took = Host.uptime - start
    // Filling memory takes no time.
    #expect(took > 0.8 && took < 2, "\(took)")
    #expect(taken > 16 && taken < 40)
    #expect(harness.waitForReader() == nil)
  }

  @Test("A5: requests after a waiting one have waited as long; later ones have not")
  func holds() {
    let hold = Hold()
    let start = hold.waits()
    hold.nextRequest(isPending: true)
    #expect(hold.waits() == start)
    hold.nextRequest(isPending: false)
    #expect(!hold.isRunning && hold.waits() > start)
    let again = hold.waits()
    for _ in 0..<127 { hold.nextRequest(isPending: true) }
    #expect(hold.waits() == again)
    // So many were served that this one cannot have been there.
    hold.nextRequest(isPending: true)
    #expect(hold.waits() > again)
  }

  @Test("A5: zeros never wait and need no space")
  func zeros() throws {
    let harness = try QueueHarness([100_000], spill: nil, patience: 1)
    harness.gate.close()
    try harness.read()
    for cluster in stride(from: 0, to: 100_000, by: 2) {
      harness.bringZeros(harness.devices[0], cluster..<cluster + 1)
    }
    #expect(harness.postedFailure() == nil)
    harness.bringZeros(harness.devices[0], 99_999..<100_000)
    for cluster in stride(from: 1, to: 99_999, by: 2) {
      harness.bringZeros(harness.devices[0], cluster..<cluster + 1)
    }
    harness.queue.finish()
    harness.gate.open()
    #expect(harness.waitForReader() == nil)
    harness.expectAll()
  }

  @Test("A5: a disk that returns other data than was written fails the backup")
  func readsBackSomethingElse() throws {
    let storage = MemoryStorage(slots: 1000)
    storage.state.withLock { $0.lies = true }
    let harness = try QueueHarness([60], spill: storage)
    harness.gate.close()
    try harness.read()
    #expect(try harness.bringAll(seed: 4).all)
    harness.queue.finish()
    harness.gate.open()
    #expect(harness.waitForReader()?.message.hasSuffix("differs from the data written") == true)
  }

  @Test("A5: a spill file that hangs does not delay the last cluster")
  func hangsAtTheEnd() throws {
    let storage = MemoryStorage(slots: 1000)
    storage.gate.close()
    let harness = try QueueHarness([14], spill: storage)
    #expect(try harness.bringAll(seed: 5).all)
    try harness.read()
    harness.queue.finish()
    #expect(harness.waitForReader() == nil)
    harness.expectAll()
    storage.gate.open()
  }

  @Test func `background copying is paused until everything is written, spilled data, too`() throws
  {
    let storage = MemoryStorage(slots: 1000)
    let harness = try QueueHarness([200], spill: storage, bufferCount: 64)
    harness.gate.close()
    try harness.read()
    #expect(try harness.bringAll(seed: 6).all)
    guard case .queueIsFull? = harness.mailbox.next(milliseconds: 0) else {
      Issue.record("not paused")
      return
    }
    #expect(harness.mailbox.next(milliseconds: 0) == nil)
    harness.gate.open()
    guard case .queueIsLow? = harness.mailbox.next(milliseconds: 10_000) else {
      Issue.record("not continued")
      return
    }
    #expect(storage.state.withLock { $0.slots.isEmpty })
    #expect(harness.seenCount >= 200 - 4)
    harness.queue.finish()
    #expect(harness.waitForReader() == nil)
    harness.expectAll()
  }

  /// Readers, connections and disks stop and continue at random: memory is full, data is spilled,
  /// the spill file is full, fails and hangs. The result is correct, or the backup fails.
  @Test("A5: interleavings of readers, connections and disks that stop, fail and continue")
  func interleavings() throws {
    var reached = Reached()
    for seed in 0..<200 as Range<UInt64> { try interleave(seed, &reached) }
    // All intended situations occurred, not just once.
    #expect(
      reached.spills > 30 && reached.waits > 30 && reached.failures > 5 && reached.full > 10,
      "\(reached)")
  }

  /// The number of seeds that led to each situation.
  private struct Reached {
    var spills = 0
    /// A connection waited for space.
    var waits = 0
    /// The spill file was full.
    var full = 0
    /// The backup has failed.
    var failures = 0
  }

  private func interleave(_ seed: UInt64, _ reached: inout Reached) throws {
    var random = SeededGenerator(seed: seed &* 0x9e37_79b9_7f4a_7c15)
    let slots = [0, 3, 20, 1000].randomElement(using: &random) ?? 0
    let storage = MemoryStorage(slots: slots)
    let isImpatient = seed % 10 == 0
    let harness = try QueueHarness(
      (0..<Int.random(in: 1...3, using: &random)).map { _ in
        Int.random(in: 1...70, using: &random)
      }, spill: slots == 0 ? nil : storage, patience: isImpatient ? 0.002 : 20,
      bufferCount: Int.random(in: 8...24, using: &random))
    let isOver = Over()
    try withThread {
      var random = SeededGenerator(seed: seed &+ 77)
      while !isOver.value.load(ordering: .relaxed) {
        let gates = [harness.gate, storage.gate].filter { _ in Bool.random(using: &random) }
        for gate in gates { gate.close() }
        if Int.random(in: 0..<4, using: &random) == 0 {
          storage.state.withLock { $0.failure = Failure(.inputOutput, "full", .noSpace) }
        }
        usleep(UInt32.random(in: 0...60_000, using: &random))
        storage.state.withLock { $0.failure = nil }
        for gate in gates { gate.open() }
        usleep(UInt32.random(in: 0...3000, using: &random))
      }
    } during: {
      defer { isOver.value.store(true, ordering: .relaxed) }
      try harness.read(atMost: Int.random(in: 1...4, using: &random))
      let run = try harness.bringAll(
        seed: seed, zeroShare: [0, 30].randomElement(using: &random) ?? 0)
      harness.queue.finish()
      #expect(harness.waitForReader() == nil)
      if isImpatient, !run.all {
        #expect(harness.postedFailure() != nil && harness.queue.isDiscarded)
        reached.failures += 1
      } else {
        #expect(run.all)
        harness.expectAll("seed \(seed)")
      }
    }
    let summary = harness.queue.summary
    if summary.spilledBytes > 0 { reached.spills += 1 }
    if summary.longestWait > 0 { reached.waits += 1 }
    if storage.state.withLock({ $0.mostSlots }) == slots, slots > 0 { reached.full += 1 }
  }

  private func withThread(
    _ body: @escaping @Sendable () -> Void, during work: () throws -> Void
  ) throws {
    let thread = try System.Thread(body)
    defer { thread.join() }
    try work()
  }

  @Test(arguments: 0..<50 as Range<UInt64>)
  func `pending zeros are a set of clusters`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let count = [1, 63, 64, 65, 5000, 300_000].randomElement(using: &random) ?? 1
    var pending = try PendingZeros(clusterCount: count)
    var model: Set<Int> = []
    for _ in 0..<400 {
      if Bool.random(using: &random) {
        let start = Int.random(in: 0..<count, using: &random)
        let length = [1, 2, 64, 129, 1000].randomElement(using: &random) ?? 1
        let range = start..<min(start + length, count)
        pending.insert(range)
        model.formUnion(range)
      } else if let run = pending.next() {
        #expect(!run.isEmpty && run.allSatisfy { model.contains($0) })
        #expect(!model.contains(run.upperBound))
        model.subtract(run)
      } else {
        #expect(model.isEmpty)
      }
      #expect(pending.count == model.count)
    }
    while let run = pending.next() { model.subtract(run) }
    #expect(model.isEmpty && pending.count == 0)
  }
}

private final class Over: Sendable {
  let value = Atomic(false)
}
