// SPDX-License-Identifier: Apache-2.0

import System

/// Decoded chunks in memory of a limited size.
///
/// Each chunk is decoded by the first thread that needs it; others that need the same one wait for it.
/// Worker threads decode chunks that will probably be needed soon.
final class ChunkCache: @unchecked Sendable {
  private final class Entry {
    enum State {
      case decoding, ready
      case failed(any Error)
    }

    let buffer: Buffer
    var state = State.decoding
    /// Threads that copy from the buffer.
    var userCount = 0
    /// The neighbours in the order of use, for a chunk that nobody uses now.
    var older: Int?
    var newer: Int?

    init(_ buffer: Buffer) { self.buffer = buffer }
  }

  private let data: any ChunkedData
  private let chunks: [Chunk]
  private let capacity: Int
  private let threadCount: Int
  private let monitor = Monitor()
  private var entries: [Int: Entry] = [:]
  private var oldest: Int?
  private var newest: Int?
  /// Buffers for reuse.
  private var spares: [Buffer] = []
  /// Bytes of all buffers, without slack: two chunks of half the capacity fit.
  private var used = 0
  /// Chunks for the workers, in the order in which they are needed.
  private var queue: [Int] = []
  private var workerCount = 0
  private var isClosed = false

  /// Decoders may write in words.
  private static let slack = 16

  /// - Parameters:
  ///   - capacity: bytes of decoded data; a larger chunk is in memory alone.
  ///   - threadCount: of the workers.
  init(_ data: any ChunkedData, chunks: [Chunk], capacity: Int, threadCount: Int) {
    self.data = data
    self.capacity = capacity
    self.threadCount = threadCount
    self.chunks = chunks
  }

  /// Copies a part of a chunk, which is decoded first if necessary.
  func copy(_ index: Int, _ range: Range<Int>, to buffer: Buffer, at offset: Int) throws {
    let entry = try monitor.withLock { try use(index) }
    buffer.copy(from: entry.buffer, range, to: offset)
    monitor.withLock { release(index, entry) }
  }

  // MARK: Entries; the lock must be held

  /// Waits until a chunk is decoded, or decodes it.
  private func use(_ index: Int) throws -> Entry {
    while true {
      if let entry = entries[index] {
        if entry.userCount == 0, case .ready = entry.state { unlink(entry) }
        entry.userCount += 1
        while case .decoding = entry.state { monitor.wait() }
        if case .failed(let error) = entry.state { throw error }
        return entry
      }
      if let buffer = try buffer(of: chunks[index].content.count) {
        let entry = Entry(buffer)
        entry.userCount = 1
        // A worker that came to it later would decode it in vain.
        queue.removeAll { $0 == index }
        return try decode(index, into: entry)
      }
      // Another thread may decode the same chunk meanwhile.
      monitor.wait()
    }
  }

  private func decode(_ index: Int, into entry: Entry) throws -> Entry {
    entries[index] = entry
    defer { monitor.wakeAll() }
    do {
      try monitor.withoutLock { try data.decode(index, into: entry.buffer) }
      entry.state = .ready
      return entry
    } catch {
      // Threads that wait for this entry get the error; the next ones try again.
      entry.state = .failed(error)
      entries[index] = nil
      spares.append(entry.buffer)
      throw error
    }
  }

  private func release(_ index: Int, _ entry: Entry) {
    entry.userCount -= 1
    guard entry.userCount == 0 else { return }
    entry.older = newest
    entry.newer = nil
    if let newest { entries[newest]?.newer = index } else { oldest = index }
    newest = index
    monitor.wakeAll()
  }

  private func unlink(_ entry: Entry) {
    if let older = entry.older { entries[older]?.newer = entry.newer } else { oldest = entry.newer }
    if let newer = entry.newer { entries[newer]?.older = entry.older } else { newest = entry.older }
    (entry.older, entry.newer) = (nil, nil)
  }

  /// A buffer for a chunk; nil if other threads must finish first.
  private func buffer(of size: Int) throws -> Buffer? {
    // Few sizes, so that a buffer fits the next chunk, too.
    let unit = max(4096, 1 << max(0, Int.bitWidth - size.leadingZeroBitCount - 4))
    let wanted = (size + unit - 1) / unit * unit
    while true {
      if let place = spares.firstIndex(where: { $0.capacity == wanted + Self.slack }) {
        return spares.remove(at: place)
      }
      if used == 0 || used + wanted <= capacity {
        let buffer = try Buffer(capacity: wanted + Self.slack)
        used += wanted
        return buffer
      }
      if let spare = spares.popLast() {
        used -= spare.capacity - Self.slack
      } else if let index = oldest, let entry = entries[index] {
        unlink(entry)
        entries[index] = nil
        spares.append(entry.buffer)
      } else {
        return nil
      }
    }
  }

  // MARK: Workers

  /// Makes the workers decode chunks, which are only started now: a process that forks after it has
  /// opened an archive would lose them.
  func prefetch(_ indexes: Range<Int>) {
    monitor.withLock {
      queue += indexes.filter { entries[$0] == nil }
      while workerCount < min(threadCount, queue.count) {
        do {
          _ = try Thread { [self] in work() }
          workerCount += 1
        } catch {
          // Without workers, each chunk is decoded when it is needed.
          queue = []
        }
      }
      monitor.wakeAll()
    }
  }

  private func work() {
    monitor.withLock {
      while !isClosed {
        guard !queue.isEmpty else {
          monitor.wait()
          continue
        }
        let index = queue.removeFirst()
        guard entries[index] == nil else { continue }
        do {
          // It is not worth waiting for memory.
          guard let buffer = try buffer(of: chunks[index].content.count) else { continue }
          let entry = Entry(buffer)
          entry.userCount = 1
          release(index, try decode(index, into: entry))
        } catch {
          // A reader that needs the chunk decodes it again, and gets the error.
        }
      }
    }
  }

  /// Ends the workers.
  func close() {
    monitor.withLock {
      isClosed = true
      monitor.wakeAll()
    }
  }
}
