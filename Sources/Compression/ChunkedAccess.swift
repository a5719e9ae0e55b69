// SPDX-License-Identifier: Apache-2.0

package import System

/// The content of compressed data whose chunks are known.
///
/// Decoded chunks stay in a cache of a limited size. While a reader reads sequentially, other threads
/// decode the next chunks.
package final class ChunkedAccess: RandomAccess, @unchecked Sendable {
  /// A sequence of reads at ascending offsets.
  private struct Stream {
    var start: UInt64
    var end: UInt64
    /// Bytes that were read, which may be far fewer than `start..<end`.
    var byteCount: UInt64
    var lastChunk: Int
    /// How many times in a row the next chunk followed.
    var stepCount = 0
    /// Chunks before this one were requested.
    var planned: Int
  }

  package let name: String
  package let size: UInt64
  private let chunks: [Chunk]
  private let cache: ChunkCache
  private let readahead: UInt64
  /// The maximum size of a chunk that is decoded ahead: it must not replace those of other streams.
  private let largestAhead: UInt64
  private let monitor = Monitor()
  /// The latest last.
  private var streams: [Stream] = []

  private static let streamCount = 8
  private static let chunksAhead = 64
  /// Reads of several threads do not arrive exactly in order.
  private static let disorder: UInt64 = 2 << 20
  /// Extent headers between data may be skipped.
  private static let gap: UInt64 = 128 << 10
  /// A stream is sequential from this many bytes on.
  private static let evidence: UInt64 = 512 << 10

  /// - Parameters:
  ///   - cacheSize: bytes of decoded data that are kept.
  ///   - threads: that decode ahead of sequential readers, started when they are first needed; 0 for
  ///     none.
  package init(
    _ data: any ChunkedData, cacheSize: Int = 64 << 20, threads: Int = Host.processorCount
  ) {
    name = data.name
    chunks = data.chunks
    size = chunks.last?.content.upperBound ?? 0
    readahead = threads > 0 ? UInt64(max(0, cacheSize / 2)) : 0
    largestAhead = UInt64(max(0, cacheSize / 4))
    cache = ChunkCache(data, chunks: chunks, capacity: cacheSize, threadCount: threads)
  }

  deinit { cache.close() }

  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    guard offset < size, !range.isEmpty else { return 0 }
    let end = offset + min(UInt64(range.count), size - offset)
    var index = firstChunk(endingAfter: offset)
    readAhead(of: offset..<end, firstChunk: index)
    var position = offset
    while position < end {
      let content = chunks[index].content
      let next = min(end, content.upperBound)
      if position < next {
        try cache.copy(
          index, Int(position - content.lowerBound)..<Int(next - content.lowerBound), to: buffer,
          at: range.lowerBound + Int(position - offset))
      }
      position = next
      index += 1
    }
    return Int(end - offset)
  }

  package func contiguous(from offset: UInt64) -> UInt64 {
    guard offset < size else { return 0 }
    return chunks[firstChunk(endingAfter: offset)].content.upperBound - offset
  }

  private func firstChunk(endingAfter offset: UInt64) -> Int {
    chunks.partitionIndex { $0.content.upperBound > offset }
  }

  /// Decides from the last reads which chunks are needed soon.
  private func readAhead(of range: Range<UInt64>, firstChunk: Int) {
    guard readahead > 0 else { return }
    let lastChunk = self.firstChunk(endingAfter: range.upperBound - 1)
    let planned = monitor.withLock {
      let index = streams.lastIndex {
        $0.lastChunk == firstChunk || $0.lastChunk + 1 == firstChunk
          || range.lowerBound + Self.disorder >= $0.end
            && range.lowerBound <= $0.end + Self.gap
      }
      var stream =
        index.map { streams.remove(at: $0) }
        ?? Stream(
          start: range.lowerBound, end: range.lowerBound, byteCount: 0, lastChunk: firstChunk,
          planned: firstChunk + 1)
      if firstChunk == stream.lastChunk + 1 {
        stream.stepCount += 1
      } else if firstChunk != stream.lastChunk {
        stream.stepCount = 0
      }
      stream.start = min(stream.start, range.lowerBound)
      stream.end = max(stream.end, range.upperBound)
      stream.byteCount += UInt64(range.count)
      stream.lastChunk = max(stream.lastChunk, lastChunk)
      let isDense =
        stream.byteCount >= Self.evidence && stream.byteCount >= (stream.end - stream.start) / 2
      let wanted =
        isDense || stream.stepCount >= 3 ? range.upperBound + readahead : range.upperBound
      let first = max(stream.planned, firstChunk + 1)
      var next = first
      let limit = min(chunks.count, firstChunk + Self.chunksAhead)
      while next < limit,
        chunks[next].content.upperBound <= wanted
          && UInt64(chunks[next].content.count) <= largestAhead || next <= lastChunk
      {
        next += 1
      }
      stream.planned = next
      streams.append(stream)
      if streams.count > Self.streamCount { streams.removeFirst() }
      return first..<next
    }
    if !planned.isEmpty { cache.prefetch(planned) }
  }
}
