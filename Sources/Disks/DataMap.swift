// SPDX-License-Identifier: Apache-2.0

import DequeModule
import NBD
import VMA

/// Which parts of an export have to be read, in whole clusters, looked up a part at a time as the
/// reader gets there.
struct DataMap {
  private let connection: NBDClient
  /// Data that is known, ascending, not overlapping.
  private var known: Deque<Range<UInt64>> = []
  /// Between these, the server was asked.
  private var start: UInt64 = 0
  private var end: UInt64 = 0
  private var asks: Bool

  /// Bytes asked for at once.
  private let window: UInt64

  /// - Parameter isLive: whether a guest's write may have to wait until a question is answered. Then
  ///   one is about at most 1024 clusters. Else a TiB of hole takes a thousand questions, and of
  ///   data that lies in single clusters at most 16384 pieces are kept.
  init(_ connection: NBDClient, isLive: Bool) {
    self.connection = connection
    window = isLive ? 64 << 20 : 1 << 30
    asks = connection.canTellHoles
  }

  /// The first data at or after `offset`, nil where only zeros are left. Made to be asked for what
  /// comes next: what lies before is forgotten.
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

  /// Moves `end` on, by one question.
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
    // A server that goes on in tiny steps, or not at all, costs more than it saves.
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
