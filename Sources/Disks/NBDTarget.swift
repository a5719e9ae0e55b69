// SPDX-License-Identifier: Apache-2.0

import DequeModule
import Files
import NBD
package import System

/// An NBD export that a disk is restored into, its pieces in any order.
package final class NBDTarget: DiskTarget {
  /// A request to the server: to write a buffer's bytes, or zeros.
  private enum Work {
    case write(Buffer)
    case zero(Range<UInt64>)
  }

  /// The maximum number of requests in progress, and the size of those with data.
  private static let requestCount = 8
  private static let pieceSize = 1 << 19
  /// The maximum range of zeros in one request: a server that has to write them must not take
  /// minutes.
  private static let zeroSize: UInt64 = 1 << 28
  /// The minimum number of bytes that make a query worthwhile.
  private static let worthAsking = 1 << 20

  /// The claimed URI of an export: it differs from all other targets.
  package struct Export {
    fileprivate let uri: String

    /// - Throws: `Failure` 64 if it is another target.
    package init(_ uri: String) throws {
      self.uri = uri
      try Claims.output(export: NBDURI.key(uri), name: uri)
    }
  }

  private let connection: NBDClient
  private let pieceSize: Int
  private let isZero: Bool
  private var underWay: Deque<(work: Work, request: NBDClient.Request)> = []
  private var free: [Buffer] = []
  /// Zeros that are still to be written: adjacent ranges are merged.
  private var pendingZeros: Range<UInt64> = 0..<0
  private var canZero: Bool
  /// Whether to query the server for existing zeros.
  private var asksForZeros: Bool
  /// The last answer to such a query, and the zeros in it. It remains valid, because each range is
  /// written once.
  private var known: (range: Range<UInt64>, zeros: [Range<UInt64>]) = (0..<0, [])
  /// How far a query looks ahead, and whether that was useful.
  private var lookAhead: UInt64 = NBDTarget.longestLookAhead
  private var hasLookedAheadWell = true
  private static let longestLookAhead: UInt64 = 1 << 24
  private var hasSent = false
  private var hasSucceeded = false

  /// Connects to a server; nothing is changed yet.
  ///
  /// - Parameters:
  ///   - size: the number of bytes that must fit.
  ///   - isZero: whether the export is known to contain zeros.
  /// - Throws: `Failure` 73; 64 if the server writes to one of our inputs.
  package init(_ export: Export, size: UInt64, isZero: Bool) throws {
    self.isZero = isZero
    let uri = export.uri
    connection = try NBDClient(uri, failing: .cannotCreate, asksForHoles: true)
    if let peer = connection.peer { try Claims.output(of: peer, name: uri) }
    pieceSize = connection.payload(atMost: Self.pieceSize)
    canZero = connection.canZero
    asksForZeros = connection.canTellHoles
    guard !connection.isReadOnly else {
      throw Failure(.cannotCreate, "\(uri): is read-only")
    }
    guard connection.size >= size else {
      throw Failure(
        .cannotCreate, "\(uri): is too small: \(connection.size) bytes, the disk has \(size)")
    }
    guard size % connection.blockSize == 0 else {
      throw Failure(
        .cannotCreate,
        "\(uri): block size \(connection.blockSize) does not divide the disk size \(size)")
    }
  }

  package var hasChanged: Bool {
    // If the connection is lost, the outcome of the requests is unknown.
    hasSucceeded || hasSent && !connection.isAlive
  }

  package func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    // Only vmstate may be longer than stated.
    guard offset + UInt64(range.count) <= connection.size else {
      throw Failure(.cannotCreate, "\(connection.uri): is too small")
    }
    var start = range.lowerBound
    while start < range.upperBound {
      let part = start..<min(start + pieceSize, range.upperBound)
      try waitForRoom()
      // The caller reuses its buffer as soon as this returns.
      let copy = try free.popLast() ?? Buffer(capacity: Self.pieceSize)
      copy.copy(from: buffer, part, to: 0)
      let request = try connection.write(
        copy, 0..<part.count, at: offset + UInt64(start - range.lowerBound))
      underWay.append((.write(copy), request))
      hasSent = true
      start = part.upperBound
    }
    try connection.nudge()
  }

  package func zero(_ range: Range<UInt64>) throws {
    if isZero { return }
    if pendingZeros.upperBound == range.lowerBound {
      pendingZeros = pendingZeros.lowerBound..<range.upperBound
    } else {
      try makeZeros()
      pendingZeros = range
    }
  }

  /// Written data may still be in progress.
  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) -> Bool { false }

  package func finish(length: UInt64) throws {
    try makeZeros()
    while !underWay.isEmpty { try waitForFirst() }
    if connection.canFlush { try connection.flush() }
    connection.close()
  }

  private func makeZeros() throws {
    var rest = pendingZeros
    pendingZeros = 0..<0
    guard rest.upperBound <= connection.size else {
      throw Failure(.cannotCreate, "\(connection.uri): is too small")
    }
    while !rest.isEmpty {
      let part = rest.lowerBound..<min(rest.upperBound, rest.lowerBound + Self.zeroSize)
      let start = try skipZeros(in: part)
      rest = start..<rest.upperBound
    }
  }

  /// Writes zeros where the server does not report zeros: in a new qcow2 or vmdk image, even zeros
  /// take space.
  ///
  /// - Returns: the end of the processed range, after the start of `range`.
  private func skipZeros(in range: Range<UInt64>) throws -> UInt64 {
    if known.range.contains(range.lowerBound) {
      hasLookedAheadWell = true
    } else {
      try ask(range)
    }
    guard known.range.contains(range.lowerBound) else {
      try makeZeros(range)
      return range.upperBound
    }
    let end = min(range.upperBound, known.range.upperBound)
    var start = range.lowerBound
    var index = known.zeros.firstIndex { $0.upperBound > start } ?? known.zeros.endIndex
    while start < end {
      let next = index < known.zeros.endIndex ? min(known.zeros[index].lowerBound, end) : end
      if start < next { try makeZeros(start..<next) }
      start = index < known.zeros.endIndex ? max(next, known.zeros[index].upperBound) : end
      index += 1
    }
    return end
  }

  /// Queries existing zeros in a range and, if the disk arrives in order, in the range after it.
  private func ask(_ range: Range<UInt64>) throws {
    guard asksForZeros else { return }
    lookAhead = hasLookedAheadWell ? Self.longestLookAhead : lookAhead / 2
    hasLookedAheadWell = false
    let end = min(connection.size, max(range.upperBound, range.lowerBound + lookAhead))
    guard let stretches = try connection.allocation(of: range.lowerBound..<end),
      stretches.allSatisfy({ $0.length % connection.blockSize == 0 })
    else { return }
    var start = range.lowerBound
    known.zeros.removeAll(keepingCapacity: true)
    for stretch in stretches where start < end {
      let next = min(start + stretch.length, end)
      if stretch.isZero {
        if let last = known.zeros.last, last.upperBound == start {
          known.zeros[known.zeros.count - 1] = last.lowerBound..<next
        } else {
          known.zeros.append(start..<next)
        }
      }
      start = next
    }
    known.range = range.lowerBound..<start
    // If a server answers in tiny steps, or not at all, queries cost more than they save.
    if known.range.count < min(range.count, Self.worthAsking) { asksForZeros = false }
  }

  private func makeZeros(_ range: Range<UInt64>) throws {
    try waitForRoom()
    guard canZero else { return try writeZeros(range) }
    underWay.append((.zero(range), try connection.zero(range)))
    hasSent = true
  }

  private func writeZeros(_ range: Range<UInt64>) throws {
    var offset = range.lowerBound
    while offset < range.upperBound {
      try waitForRoom()
      let count = Int(min(range.upperBound - offset, UInt64(pieceSize)))
      underWay.append((.write(.zeros), try connection.write(.zeros, 0..<count, at: offset)))
      hasSent = true
      offset += UInt64(count)
    }
  }

  private func waitForRoom() throws {
    while underWay.count >= Self.requestCount { try waitForFirst() }
  }

  private func waitForFirst() throws {
    do {
      try answer(underWay.removeFirst())
    } catch {
      // Other requests in progress may have been carried out.
      while !underWay.isEmpty, connection.isAlive, !hasSucceeded {
        if (try? connection.wait(for: underWay.removeFirst().request)) != nil {
          hasSucceeded = true
        }
      }
      throw error
    }
  }

  private func answer(_ first: (work: Work, request: NBDClient.Request)) throws {
    switch first.work {
    case .write(let buffer):
      try connection.wait(for: first.request)
      hasSucceeded = true
      if buffer !== Buffer.zeros { free.append(buffer) }
    case .zero(let range):
      if try connection.waitForZeros(first.request) {
        hasSucceeded = true
        return
      }
      canZero = false
      try writeZeros(range)
    }
  }
}
