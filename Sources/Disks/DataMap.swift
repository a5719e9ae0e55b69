// SPDX-License-Identifier: Apache-2.0

import DequeModule
import NBD
import VMA

/// The parts of an export that must be read, in whole clusters, queried on demand as reading
/// advances.
struct DataMap {
  private let connection: NBDClient
  /// Known data ranges, ascending, without overlap.
  private var known: Deque<Range<UInt64>> = []
  /// The range that the server was queried for.
  private var start: UInt64 = 0
  private var end: UInt64 = 0
  private var asks: Bool

  /// Bytes in one query.
  private let window: UInt64

  /// - Parameter isLive: whether a guest write may have to wait for a query, which then covers at
  ///   most 1024 clusters. Otherwise, a hole of 1 TiB takes a thousand queries, and if data is in
  ///   single clusters at most 16384 ranges are kept.
  init(_ connection: NBDClient, isLive: Bool) {
    self.connection = connection
    window = isLive ? 64 << 20 : 1 << 30
    asks = connection.canTellHoles
  }

  /// The first data at or after `offset`; nil if only zeros remain. Call it with ascending offsets:
  /// earlier ranges are dropped.
  mutating func next(from offset: UInt64) throws -> Range<UInt64>? {
    if offset < start {
      known = []
      end = offset
    }
    start = offset
    while true {
      while let first = known.first {
        if first.upperBound > offset { return max(first.lowerBound, offset)..<first.upperBound }
        known.removeFirst()
      }
      guard end < connection.size else { return nil }
      end = max(end, offset)
      try look()
    }
  }

  /// Advances `end` with one query.
  private mutating func look() throws {
    let size = connection.size
    let clusterSize = UInt64(VMAFormat.clusterSize)
    guard asks, end < size,
      let stretches = try connection.allocation(of: end..<min(end + window, size))
    else {
      asks = false
      add(end..<size)
      end = size
      return
    }
    let start = end
    for stretch in stretches {
      let next = min(end + stretch.length, size)
      if !stretch.isZero { add(end..<next) }
      end = next
    }
    // If a server answers in tiny steps, or not at all, queries cost more than they save.
    if end - start < clusterSize { asks = false }
  }

  private mutating func add(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    let clusterSize = UInt64(VMAFormat.clusterSize)
    let lower = range.lowerBound / clusterSize * clusterSize
    let upper = min(range.upperBound.roundedUp(toMultipleOf: clusterSize), connection.size)
    if let last = known.last, last.upperBound >= lower {
      known[known.count - 1] = last.lowerBound..<max(last.upperBound, upper)
    } else {
      known.append(lower..<upper)
    }
  }
}
