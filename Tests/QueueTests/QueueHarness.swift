// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import System
import TestSupport
import Testing
import VMA

@testable import TapTool

/// A queue between connections that append clusters, each on a thread of its own, and a reader that
/// can stop; it records the events that it reads.
final class QueueHarness: Sendable {
  private struct Seen {
    /// How often each cluster arrived, as data or as zeros.
    var clusters: [Key: Int] = [:]
    var failure: Failure?
    var isAtEnd = false
  }

  struct Key: Hashable {
    var device: UInt8
    var cluster: Int
  }

  let devices: [ArchiveHeader.Device]
  let mailbox = Mailbox()
  let queue: EventQueue
  /// Closed while the reader is stopped.
  let gate = Gate()
  private let seen = Mutex(Seen())
  private let reader = Mutex<System.Thread?>(nil)

  /// - Parameter clusterCounts: of each device, the last one of 512 bytes.
  init(
    _ clusterCounts: [Int], spill: MemoryStorage?, patience: Double = 20, bufferCount: Int = 16
  ) throws {
    devices = clusterCounts.enumerated().map { index, count in
      ArchiveHeader.Device(
        id: UInt8(index + 1), name: [65 + UInt8(index)],
        size: UInt64((count - 1) * VMAFormat.clusterSize + 512))
    }
    queue = try EventQueue(
      devices, spill: spill, patience: patience, mailbox: mailbox, bufferCount: bufferCount)
  }

  // MARK: The reader

  /// Starts to read.
  ///
  /// - Parameters:
  ///   - count: the maximum number of clusters at a time, fewer than fit in memory.
  ///   - pause: called before each batch.
  func read(atMost count: Int = 4, pause: @escaping @Sendable () -> Void = {}) throws {
    let thread = try System.Thread { [self] in
      do {
        while let batch = try queue.next(atMost: count) {
          gate.pass()
          pause()
          for event in batch { note(event) }
          queue.recycle(batch)
        }
      } catch {
        seen.withLock { $0.failure = error as? Failure }
      }
      seen.withLock { $0.isAtEnd = true }
    }
    reader.withLock { $0 = thread }
  }

  private func note(_ event: Event) {
    switch event {
    case .zeros(let device, let offset, let length, _):
      let size = UInt64(VMAFormat.clusterSize)
      #expect(offset.isMultiple(of: size))
      #expect(
        length.isMultiple(of: size) || offset + length == devices[Int(device) - 1].size)
      for cluster in Int(offset / size)..<Int((offset + length + size - 1) / size) {
        seen.withLock { $0.clusters[Key(device: device, cluster: cluster), default: 0] += 1 }
      }
    case .data(let cluster):
      let number = Int(cluster.offset) / VMAFormat.clusterSize
      let key = Key(device: cluster.device, cluster: number)
      let expected = Self.fill(cluster.device, number)
      let bytes = cluster.buffer.withBytes(cluster.range) { [$0[0], $0[511], $0[$0.count - 1]] }
      #expect(bytes == [expected, expected, expected], "\(key) holds something else")
      // Like the writer, which puts headers there.
      cluster.buffer.fillWithZeros(0..<Cluster.headroom + cluster.length)
      seen.withLock { $0.clusters[key, default: 0] += 1 }
    }
  }

  /// Waits for the end of the reader.
  ///
  /// - Returns: the error that ended it, if any.
  func waitForReader() -> Failure? {
    reader.withLock { $0 }?.join()
    return seen.withLock { $0.failure }
  }

  var seenCount: Int { seen.withLock { $0.clusters.count } }

  /// All clusters of all devices arrived exactly once.
  func expectAll(_ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) {
    let clusters = seen.withLock { $0.clusters }
    let total = devices.reduce(0) { $0 + Self.count($1) }
    #expect(clusters.count == total, comment, sourceLocation: sourceLocation)
    #expect(clusters.values.allSatisfy { $0 == 1 }, comment, sourceLocation: sourceLocation)
  }

  // MARK: The connections

  static func count(_ device: ArchiveHeader.Device) -> Int {
    Int(device.size + UInt64(VMAFormat.clusterSize) - 512) / VMAFormat.clusterSize
  }

  private static func fill(_ device: UInt8, _ cluster: Int) -> UInt8 {
    UInt8(1 + (Int(device) * 91 + cluster * 7) % 255)
  }

  /// Appends one cluster as data.
  ///
  /// - Returns: whether it was accepted.
  @discardableResult
  func bring(_ device: ArchiveHeader.Device, _ cluster: Int, _ hold: Hold) -> Bool {
    guard let buffer = queue.buffer(hold) else { return false }
    let offset = UInt64(cluster * VMAFormat.clusterSize)
    let length = Int(min(UInt64(VMAFormat.clusterSize), device.size - offset))
    let fill = Self.fill(device.id, cluster)
    buffer.withMutableBytes(Cluster.headroom..<Cluster.headroom + length) {
      $0.update(repeating: fill)
    }
    queue.append(
      Cluster(
        device: device.id, offset: offset, length: length, isOfGuest: cluster % 3 == 0,
        buffer: buffer))
    return true
  }

  func bringZeros(_ device: ArchiveHeader.Device, _ clusters: Range<Int>) {
    let offset = UInt64(clusters.lowerBound * VMAFormat.clusterSize)
    queue.appendZeros(
      device: device.id, offset: offset,
      length: min(UInt64(clusters.upperBound * VMAFormat.clusterSize), device.size) - offset,
      isOfGuest: clusters.lowerBound % 2 == 0)
  }

  /// Appends all clusters of all devices, each device on a thread of its own.
  ///
  /// - Parameters:
  ///   - zeroShare: the percentage of clusters that are zeros.
  ///   - pause: called before each cluster.
  /// - Returns: the longest wait for one in seconds, and whether all were accepted.
  func bringAll(
    seed: UInt64, zeroShare: Int = 0, pause: @escaping @Sendable () -> Void = {}
  ) throws -> (longest: Double, all: Bool) {
    let outcome = Mutex((longest: 0.0, all: true))
    let threads = try devices.map { device in
      try System.Thread { [self] in
        var random = SeededGenerator(seed: seed &* 1000 + UInt64(device.id))
        let hold = Hold()
        var rest = Array(0..<Self.count(device)).shuffled(using: &random)[...]
        while let cluster = rest.popFirst() {
          pause()
          let start = Host.uptime
          if Int.random(in: 0..<100, using: &random) < zeroShare {
            bringZeros(device, cluster..<cluster + 1)
          } else if !bring(device, cluster, hold) {
            outcome.withLock { $0.all = false }
          }
          let took = Host.uptime - start
          outcome.withLock { $0.longest = max($0.longest, took) }
          // No other request was waiting.
          if hold.isRunning { hold.nextRequest(isPending: false) }
        }
      }
    }
    for thread in threads { thread.join() }
    return outcome.withLock { $0 }
  }

  /// The posted failure that ends the backup.
  func postedFailure() -> Failure? {
    while let message = mailbox.next(milliseconds: 0) {
      if case .outputFailed(let failure) = message { return failure }
    }
    return nil
  }
}
