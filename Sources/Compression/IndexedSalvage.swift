// SPDX-License-Identifier: Apache-2.0

import System

/// The content of damaged zstd data, as far as an index of it from before the damage proves it.
///
/// A chunk whose digest is wrong is replaced by zeros of the same size, and recorded as lost. If the
/// data has another size than it had, chunks are also looked for where they are if all of the
/// difference is before them.
final class IndexedSalvage: ByteSource, @unchecked Sendable {
  private let name: String
  /// The same chunks at their places, and at shifted ones.
  private let candidates: [ZstdIndexedFrames]
  private let log: DamageLog
  private let buffer: Buffer
  private var next = 0
  private var unread: Range<Int> = 0..<0

  /// - Parameter log: records lost chunks.
  init(_ data: any RandomAccess, _ index: IndexFile, log: DamageLog) throws {
    name = data.name
    self.log = log
    let shift = Int64(data.size) - Int64(index.identity.size)
    candidates = (shift == 0 ? [0] : [0, shift]).map {
      ZstdIndexedFrames(data, index, shiftedBy: $0)
    }
    let largest = candidates[0].chunks.map(\.content.count).max() ?? 0
    try Host.requireMemory(largest)
    // Decoders may write in words.
    buffer = try Buffer(capacity: largest + 16)
  }

  func read(into target: Buffer, _ range: Range<Int>) throws -> Int {
    guard !range.isEmpty else { return 0 }
    if unread.isEmpty {
      guard next < candidates[0].chunks.count else { return 0 }
      try decode(next)
      next += 1
    }
    let part = unread.prefix(range.count)
    target.copy(from: buffer, part, to: range.lowerBound)
    unread = part.upperBound..<unread.upperBound
    return part.count
  }

  private func decode(_ index: Int) throws {
    let count = candidates[0].chunks[index].content.count
    unread = 0..<count
    var first: Failure?
    for candidate in candidates {
      do {
        try candidate.decode(index, into: buffer)
        log.deliver(count)
        log.judge(isSound: true)
        return
      } catch let failure as Failure
        where failure.status == .badData || failure.status == .inputOutput
      {
        if first == nil { first = failure }
      }
    }
    if let first { log.note(first.message) }
    buffer.fillWithZeros(0..<count)
    log.deliver(count)
    log.judge(isSound: false, filler: UInt64(count))
  }
}
