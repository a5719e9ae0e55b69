// SPDX-License-Identifier: Apache-2.0

import DequeModule
import Files
import NBD
import System

/// A disk that an NBD server exports.
///
/// Ranges that the server reports as zeros are not read. The rest is read from start to end, with
/// requests for the next pieces in progress while one is processed; or, without reading ahead, in
/// any order, with no request in progress between two calls.
final class NBDSource: DiskContent, @unchecked Sendable {
  /// A piece of the disk that was requested.
  private struct Piece {
    let range: Range<UInt64>
    let buffer: Buffer
    let request: NBDClient.Request
    var isThere = false
  }

  /// The maximum number of requests in progress, and the size of each in bytes.
  private static let pieceCount = 8
  private static let pieceSize = 1 << 20

  private let connection: NBDClient
  private var map: DataMap
  /// In the order of the requests, which is that of the disk.
  private var pieces: Deque<Piece> = []
  /// Everything before this was requested, or is zeros.
  private var planned: UInt64 = 0
  private var free: [Buffer] = []
  private let pieceSize: Int
  private let readsAhead: Bool

  /// Connects to a server.
  ///
  /// - Throws: `Failure` 66.
  init(_ uri: String, readsAhead: Bool = true) throws {
    self.readsAhead = readsAhead
    connection = try NBDClient(uri, failing: .noInput, asksForHoles: true)
    if let peer = connection.peer { try Claims.input(of: peer, name: uri) }
    map = DataMap(connection, isLive: !readsAhead)
    pieceSize = connection.payload(atMost: Self.pieceSize)
  }

  /// The URI.
  var name: String { connection.uri }
  /// The size of the disk in bytes.
  var size: UInt64 { connection.size }

  /// The first data at or after `offset`; everything before it is zeros. Nil if only zeros remain.
  func data(from offset: UInt64) throws -> Range<UInt64>? {
    guard readsAhead else { return try map.next(from: offset) }
    try plan()
    var found: Range<UInt64>?
    for piece in pieces where piece.range.upperBound > offset {
      guard let start = found else {
        found = max(piece.range.lowerBound, offset)..<piece.range.upperBound
        continue
      }
      guard start.upperBound == piece.range.lowerBound else { break }
      found = start.lowerBound..<piece.range.upperBound
    }
    return found
  }

  /// Reads bytes of the disk; while reading ahead, only in ascending order.
  ///
  /// - Returns: the number of bytes read, fewer only at the end of the disk.
  /// - Throws: `Failure` 74.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    let end = min(offset + UInt64(range.count), size)
    guard readsAhead else {
      try readNow(into: buffer, range.lowerBound..<range.lowerBound + Int(end - offset), at: offset)
      return Int(end - offset)
    }
    var place = offset
    func target(to next: UInt64) -> Range<Int> {
      range.lowerBound + Int(place - offset)..<range.lowerBound + Int(next - offset)
    }
    while place < end {
      try plan()
      guard let piece = pieces.first, piece.range.lowerBound < end else {
        buffer.fillWithZeros(target(to: end))
        break
      }
      if piece.range.lowerBound > place {
        buffer.fillWithZeros(target(to: piece.range.lowerBound))
        place = piece.range.lowerBound
      }
      if !piece.isThere {
        try connection.wait(for: piece.request)
        pieces[0].isThere = true
      }
      if piece.range.upperBound > place {
        let next = min(end, piece.range.upperBound)
        let start = Int(place - piece.range.lowerBound)
        let part = target(to: next)
        buffer.copy(from: piece.buffer, start..<start + part.count, to: part.lowerBound)
        place = next
      }
      if place >= piece.range.upperBound {
        pieces.removeFirst()
        // Once everything is requested, other disks need the memory.
        if planned < size { free.append(piece.buffer) }
      }
    }
    return Int(end - offset)
  }

  /// Reads bytes at any alignment, in whole blocks of the server.
  private func readNow(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    let block = connection.blockSize
    let end = offset + UInt64(range.count)
    guard !offset.isMultiple(of: block) || !end.isMultiple(of: block) && end < size else {
      return try readBlocks(into: buffer, range, at: offset)
    }
    let bounce = try free.popLast() ?? Buffer(capacity: pieceSize)
    defer { free.append(bounce) }
    var place = offset
    while place < end {
      let start = place / block * block
      // At most the wanted blocks: a guest write waits for them.
      let last = (end + block - 1) / block * block
      let next = min(start + UInt64(pieceSize), last, size)
      try readBlocks(into: bounce, 0..<Int(next - start), at: start)
      let part = Int(place - start)..<Int(min(next, end) - start)
      buffer.copy(from: bounce, part, to: range.lowerBound + Int(place - offset))
      place = min(next, end)
    }
  }

  /// Reads whole blocks.
  private func readBlocks(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    for start in stride(from: range.lowerBound, to: range.upperBound, by: pieceSize) {
      let part = start..<min(start + pieceSize, range.upperBound)
      let request = try connection.read(
        into: buffer, part, at: offset + UInt64(start - range.lowerBound))
      try connection.wait(for: request)
    }
  }

  /// Sends as many requests as may be in progress.
  private func plan() throws {
    while planned < size, pieces.count < Self.pieceCount {
      guard let data = try map.next(from: planned) else {
        planned = size
        break
      }
      let end = min(data.upperBound, data.lowerBound + UInt64(pieceSize))
      let buffer = try free.popLast() ?? Buffer(capacity: pieceSize)
      let request = try connection.read(
        into: buffer, 0..<Int(end - data.lowerBound), at: data.lowerBound)
      pieces.append(Piece(range: data.lowerBound..<end, buffer: buffer, request: request))
      planned = end
    }
    if planned == size { free = [] }
  }

  /// Disconnects when everything is done: until then the server keeps its export available.
  func close() {
    connection.close()
  }
}
