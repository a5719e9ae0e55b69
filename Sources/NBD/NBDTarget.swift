// SPDX-License-Identifier: Apache-2.0

public import FilterIO

/// An NBD export that a disk is restored into, its pieces in any order.
public final class NBDTarget: DiskTarget {
  /// Something that was asked of the server: to take a buffer's bytes, or to make zeros.
  private enum Work {
    case write(Buffer)
    case zero(Range<UInt64>)
  }

  /// The most requests that are on their way, and the bytes of each that carries any.
  private static let requestCount = 8
  private static let pieceSize = 1 << 19
  /// Zeros made at once: few enough that a server which has to write them does not take minutes.
  private static let zeroSize: UInt64 = 1 << 28
  /// Zeros that are sooner made than asked about.
  private static let worthAsking = 1 << 20

  private let connection: Connection
  private let pieceSize: Int
  private var underWay: [(work: Work, request: Connection.Request)] = []
  private var free: [Buffer] = []
  /// Zeros that were not made yet: neighbours are made together.
  private var pendingZeros: Range<UInt64> = 0..<0
  private var canZero: Bool
  /// Whether the server is asked where there are zeros already.
  private var asksForZeros: Bool

  /// Connects to a server; nothing is changed yet.
  ///
  /// - Parameter size: bytes that must fit.
  /// - Throws: `Failure` 73.
  public init(_ uri: String, size: UInt64) throws {
    connection = try Connection(uri, failing: .cannotCreate, asksForHoles: true)
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
        "\(uri): takes blocks of \(connection.blockSize) bytes, the disk has \(size) bytes")
    }
  }

  public func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    // Only vmstate may be longer than it said.
    guard offset + UInt64(range.count) <= connection.size else {
      throw Failure(.cannotCreate, "\(connection.uri): is too small")
    }
    var start = range.lowerBound
    while start < range.upperBound {
      let part = start..<min(start + pieceSize, range.upperBound)
      try waitForRoom()
      // The caller uses its buffer again as soon as this returns.
      let copy = try free.popLast() ?? Buffer(capacity: Self.pieceSize)
      copy.copy(from: buffer, part, to: 0)
      let request = try connection.write(
        copy, 0..<part.count, at: offset + UInt64(start - range.lowerBound))
      underWay.append((.write(copy), request))
      start = part.upperBound
    }
    try connection.nudge()
  }

  public func zero(_ range: Range<UInt64>) throws {
    if pendingZeros.upperBound == range.lowerBound {
      pendingZeros = pendingZeros.lowerBound..<range.upperBound
    } else {
      try makeZeros()
      pendingZeros = range
    }
  }

  public func finish(length: UInt64) throws {
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

  /// Makes zeros where the server does not say that there are any: in a new qcow2 image, even zeros
  /// take space.
  ///
  /// - Returns: where that ended, behind the start of `range`.
  private func skipZeros(in range: Range<UInt64>) throws -> UInt64 {
    guard asksForZeros, range.count >= Self.worthAsking,
      let stretches = try connection.allocation(of: range),
      stretches.allSatisfy({ $0.length % connection.blockSize == 0 })
    else {
      try makeZeros(range)
      return range.upperBound
    }
    var start = range.lowerBound
    for stretch in stretches where start < range.upperBound {
      let end = min(start + stretch.length, range.upperBound)
      if !stretch.isZero, end > start { try makeZeros(start..<end) }
      start = end
    }
    // A server that goes on in tiny steps, or not at all, costs more than it saves.
    if start - range.lowerBound < Self.worthAsking { asksForZeros = false }
    if start > range.lowerBound { return start }
    try makeZeros(range)
    return range.upperBound
  }

  private func makeZeros(_ range: Range<UInt64>) throws {
    try waitForRoom()
    guard canZero else { return try writeZeros(range) }
    underWay.append((.zero(range), try connection.zero(range)))
  }

  private func writeZeros(_ range: Range<UInt64>) throws {
    var offset = range.lowerBound
    while offset < range.upperBound {
      try waitForRoom()
      let count = Int(min(range.upperBound - offset, UInt64(pieceSize)))
      underWay.append((.write(.zeros), try connection.write(.zeros, 0..<count, at: offset)))
      offset += UInt64(count)
    }
  }

  private func waitForRoom() throws {
    while underWay.count >= Self.requestCount { try waitForFirst() }
  }

  private func waitForFirst() throws {
    let (work, request) = underWay.removeFirst()
    switch work {
    case .write(let buffer):
      try connection.wait(for: request)
      if buffer !== Buffer.zeros { free.append(buffer) }
    case .zero(let range):
      guard try !connection.waitForZeros(request) else { return }
      canZero = false
      try writeZeros(range)
    }
  }
}
