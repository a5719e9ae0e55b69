// SPDX-License-Identifier: Apache-2.0

import Compression
package import Disks
import System
import VMA

/// The stored data of a disk in an archive or a waiting room, in disk order.
package struct OrderedDisk: Sendable {
  let access: any RandomAccess
  let runs: [DataRun]
  /// The size of the disk in bytes.
  package let size: UInt64
  /// The waiting room that contains the data and reuses its space, if any.
  let frees: WaitingRoom?
  /// Compares the data with digests as it is read, if all of it is read.
  var check: DigestCheck?

  private static let chunkSize = 1 << 20
  private static let chunkCount = 4

  /// Several pieces of the disk, read together.
  private final class Chunk: @unchecked Sendable {
    let buffer: Buffer
    /// The position of each range of the buffer on the disk.
    var pieces: [(offset: UInt64, range: Range<Int>)] = []
    var used = 0

    init() throws { buffer = try Buffer(capacity: OrderedDisk.chunkSize) }
  }

  /// The stored ranges of the disk, merged, ascending; the last one ends at the end of the disk.
  package func forEachStoredRange(_ body: (Range<UInt64>) -> Void) {
    var pending: Range<UInt64>?
    for run in runs {
      run.forEachPiece { offset, _, length in
        let range = offset..<min(offset + UInt64(length), size)
        if let before = pending, before.upperBound == range.lowerBound {
          pending = before.lowerBound..<range.upperBound
        } else {
          if let pending { body(pending) }
          pending = range
        }
      }
    }
    if let pending { body(pending) }
  }

  /// Passes the disk, or the window of it, to a sink, while a thread reads ahead.
  ///
  /// - Parameter window: bytes of the disk; the entire disk if nil.
  /// - Returns: the sink.
  package func emit<Sink: DiskSink>(to sink: Sink, window: Range<UInt64>? = nil) throws -> Sink {
    let window = window ?? 0..<size
    let free = try Channel((0..<Self.chunkCount).map { _ in try Chunk() }, isStack: true)
    let full = Channel<Chunk>()
    let thread = try Thread {
      do {
        try read(window, free: free, full: full)
        full.finish()
      } catch {
        full.finish(.failure(error))
      }
    }
    var cursor = DiskCursor(sink, window: window)
    while let chunk = try full.receive() {
      for piece in chunk.pieces { try cursor.write(chunk.buffer, piece.range, at: piece.offset) }
      try cursor.flush()
      free.send(chunk)
    }
    try cursor.finish()
    thread.join()
    return cursor.sink
  }

  private func read(
    _ window: Range<UInt64>, free: Channel<Chunk>, full: Channel<Chunk>
  ) throws {
    var chunk: Chunk?
    // Bytes of the file to be read next, at the end of the chunk.
    var pending: Range<UInt64> = 0..<0

    func load() throws {
      guard let chunk, !pending.isEmpty else { return }
      let count = try access.read(
        into: chunk.buffer, chunk.used..<chunk.used + pending.count, at: pending.lowerBound)
      guard count == pending.count else {
        throw Failure(.inputOutput, "\(access.name): was truncated while it was read")
      }
      try check?.update(
        chunk.buffer, chunk.used..<chunk.used + count, at: pending.lowerBound)
      chunk.used += count
      Progress.current.add(UInt64(count))
      pending = 0..<0
    }
    func hand() throws {
      try load()
      if let chunk { full.send(chunk) }
      chunk = nil
    }

    for run in runs {
      let start = UInt64(run.cluster) * UInt64(VMAFormat.clusterSize)
      guard start < window.upperBound, run.end * UInt64(VMAFormat.clusterSize) > window.lowerBound
      else { continue }
      try run.forEachPiece { start, position, length in
        var offset = max(start, window.lowerBound)
        let end = min(start + UInt64(length), window.upperBound)
        while offset < end {
          let place = run.position + UInt64(position) + (offset - start)
          if let chunk, chunk.used + pending.count == Self.chunkSize || chunk.pieces.count == 4096 {
            try hand()
          }
          if chunk == nil {
            chunk = try free.receive()
            chunk?.pieces.removeAll(keepingCapacity: true)
            chunk?.used = 0
          }
          if place != pending.upperBound || pending.isEmpty {
            try load()
            pending = place..<place
          }
          guard let chunk else { return }
          let first = chunk.used + pending.count
          let length = min(Int(end - offset), Self.chunkSize - first)
          if let last = chunk.pieces.last, last.range.upperBound == first,
            last.offset + UInt64(last.range.count) == offset
          {
            chunk.pieces[chunk.pieces.count - 1].range = last.range.lowerBound..<first + length
          } else {
            chunk.pieces.append((offset, first..<first + length))
          }
          pending = pending.lowerBound..<pending.upperBound + UInt64(length)
          offset += UInt64(length)
        }
      }
      if let frees {
        try load()
        frees.free(run)
      }
    }
    try hand()
  }
}
