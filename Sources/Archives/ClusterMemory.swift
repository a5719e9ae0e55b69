// SPDX-License-Identifier: Apache-2.0

import System
import VMA

/// Memory for the clusters of extents that are not written yet: one thread fills it, and another one
/// releases what it has written.
final class ClusterMemory: @unchecked Sendable {
  let buffer: Buffer
  private let monitor = Monitor()
  /// Whether each place is free. Places at the start are used first, so that the others take no
  /// memory until they are needed.
  private var isFree: [Bool]
  private(set) var freeCount: Int

  /// - Parameters:
  ///   - count: the number of clusters.
  ///   - rest: additional bytes at the end of the buffer.
  init(count: Int, rest: Int) throws {
    buffer = try Buffer(capacity: count * VMAFormat.clusterSize + rest)
    isFree = [Bool](repeating: true, count: count)
    freeCount = count
  }

  /// Waits for space.
  ///
  /// - Parameter count: the number of adjacent clusters that are wanted.
  /// - Returns: the bytes of at least one cluster, and at most `count`.
  func take(_ count: Int) -> Range<Int> {
    monitor.withLock {
      while freeCount == 0 { monitor.wait() }
      let place = longestRun(count)
      for index in place { isFree[index] = false }
      freeCount -= place.count
      return place.lowerBound * VMAFormat.clusterSize..<place.upperBound * VMAFormat.clusterSize
    }
  }

  /// The first free run of `count` places; if there is none, the longest one.
  private func longestRun(_ count: Int) -> Range<Int> {
    var longest = 0..<0
    var start = 0
    for index in isFree.indices {
      if !isFree[index] {
        start = index + 1
      } else if index + 1 - start > longest.count {
        longest = start..<index + 1
        if longest.count == count { break }
      }
    }
    return longest
  }

  /// Releases the clusters that start at these positions.
  func release(_ positions: some Sequence<Int>) {
    monitor.withLock {
      for position in positions {
        isFree[position / VMAFormat.clusterSize] = true
        freeCount += 1
      }
      monitor.wakeAll()
    }
  }

  /// The number of clusters that can be taken without waiting.
  var available: Int { monitor.withLock { freeCount } }
}
