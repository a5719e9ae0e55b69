// SPDX-License-Identifier: Apache-2.0

import System

/// Reads bytes that can be read at any offset from start to end. After the first of them, a thread
/// reads ahead.
final class AccessSource: ByteSource, @unchecked Sendable {
  /// Bytes that were read ahead.
  private final class Piece: @unchecked Sendable {
    let buffer: Buffer
    var unread = 0..<0
    init() throws { buffer = try Buffer(capacity: AccessSource.pieceSize) }
  }

  private let access: any RandomAccess
  private var position: UInt64 = 0
  private var piece: Piece?
  private var thread: Thread?
  private let free = Channel<Piece>(isStack: true)
  private let full = Channel<Piece>()

  private static let pieceSize = 1 << 20
  private static let pieceCount = 4
  /// A tool that needs only the header of the archive reads no more than this.
  private static let startSize: UInt64 = 1 << 20
  private static let firstReadSize = 1 << 16

  init(_ access: any RandomAccess) { self.access = access }

  // If reading stops before the end, the thread and its memory must be released, too.
  deinit { free.finish() }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    guard position >= Self.startSize else {
      // Over a network, the header of an archive alone must not need all of the first reads.
      let most = max(Self.firstReadSize, Int(position))
      let count = try access.read(into: buffer, range.prefix(most), at: position)
      position += UInt64(count)
      Progress.current.add(UInt64(count))
      return count
    }
    if thread == nil { try start() }
    guard !range.isEmpty, let piece = try piece ?? full.receive() else { return 0 }
    let part = piece.unread.prefix(range.count)
    buffer.copy(from: piece.buffer, part, to: range.lowerBound)
    piece.unread = part.upperBound..<piece.unread.upperBound
    self.piece = piece
    if piece.unread.isEmpty {
      free.send(piece)
      self.piece = nil
    }
    Progress.current.add(UInt64(part.count))
    return part.count
  }

  private func start() throws {
    for _ in 0..<Self.pieceCount { free.send(try Piece()) }
    let (access, free, full, start) = (access, free, full, position)
    thread = try Thread {
      do {
        var position = start
        while let piece = try free.receive() {
          let count = try access.read(into: piece.buffer, 0..<Self.pieceSize, at: position)
          guard count > 0 else { break }
          position += UInt64(count)
          piece.unread = 0..<count
          full.send(piece)
        }
        full.finish()
      } catch {
        full.finish(.failure(error))
      }
    }
  }
}
