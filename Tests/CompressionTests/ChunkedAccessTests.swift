// SPDX-License-Identifier: Apache-2.0

import Synchronization
import System
import TestSupport
import Testing

@testable import Compression

/// The cache of decoded chunks.
@Suite struct ChunkedAccessTests {
  /// Chunks whose bytes are their number.
  private final class Numbers: ChunkedData {
    let name = "numbers"
    let chunks: [Chunk]
    let counts: Mutex<[Int: Int]> = Mutex([:])
    let running = Mutex(0)
    let mostRunning = Mutex(0)
    let broken: Mutex<Set<Int>>
    let delay: UInt32

    init(_ sizes: [Int], broken: Set<Int> = [], delay: UInt32 = 0) {
      var start: UInt64 = 0
      chunks = sizes.map { size in
        defer { start += UInt64(size) }
        return Chunk(stored: 0..<1, content: start..<start + UInt64(size))
      }
      self.broken = Mutex(broken)
      self.delay = delay
    }

    func decode(_ index: Int, into buffer: Buffer) throws {
      counts.withLock { $0[index, default: 0] += 1 }
      let now = running.withLock { running in
        running += 1
        return running
      }
      mostRunning.withLock { $0 = max($0, now) }
      if delay > 0 { Host.sleep(milliseconds: delay) }
      running.withLock { $0 -= 1 }
      if broken.withLock({ $0.contains(index) }) { throw Failure(.badData, "chunk \(index)") }
      buffer.withMutableBytes(0..<chunks[index].content.count) {
        $0.update(repeating: UInt8(truncatingIfNeeded: index))
      }
    }

    /// How often each chunk was decoded.
    var decoded: [Int: Int] { counts.withLock { $0 } }
    var contents: [UInt8] {
      chunks.enumerated().flatMap { index, chunk in
        [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: chunk.content.count)
      }
    }
  }

  /// Runs a closure on several threads at once.
  private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) throws {
    let threads = try (0..<count).map { number in try Thread { body(number) } }
    for thread in threads { thread.join() }
  }

  @Test("any range is read right, whatever the sizes of chunks, cache and reads", arguments: 0..<6)
  func ranges(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let sizes = (0..<60).map { _ in
      [0, 1, 500, 4096, 30_000].randomElement(using: &random) ?? 0
    }
    let numbers = Numbers(sizes)
    let all = numbers.contents
    let access = ChunkedAccess(
      numbers, cacheSize: [0, 10_000, 100_000, 1 << 20][Int(seed % 4)], threads: Int(seed % 3))
    #expect(access.size == UInt64(all.count))
    #expect(try access.contents(readSize: 7777) == all)
    for _ in 0..<200 {
      let start = Int.random(in: 0...all.count + 5, using: &random)
      let count = Int.random(in: 0...50_000, using: &random)
      let range = min(start, all.count)..<min(start + count, all.count)
      #expect(try access.contents(start..<start + count) == Array(all[range]))
    }
  }

  @Test("threads that want the same chunk decode it once, and different ones in parallel")
  func threads() throws {
    let numbers = Numbers([Int](repeating: 1000, count: 8), delay: 100)
    let access = ChunkedAccess(numbers, threads: 0)
    let wrong = Mutex(0)
    try onThreads(8) { number in
      let start = number / 4 * 1000
      let found = (try? access.contents(start..<start + 1000)) ?? []
      if found != [UInt8](repeating: UInt8(number / 4), count: 1000) { wrong.withLock { $0 += 1 } }
    }
    #expect(wrong.withLock { $0 } == 0)
    #expect(numbers.decoded == [0: 1, 1: 1])
    #expect(numbers.mostRunning.withLock { $0 } == 2)
  }

  @Test("a fault reaches every thread that waits, and is not kept")
  func faults() throws {
    let numbers = Numbers([1000, 1000], broken: [1], delay: 100)
    let access = ChunkedAccess(numbers, threads: 0)
    let failures = Mutex(0)
    try onThreads(4) { _ in
      do {
        _ = try access.contents(500..<1500)
      } catch {
        if (error as? Failure)?.status == .badData { failures.withLock { $0 += 1 } }
      }
    }
    #expect(failures.withLock { $0 } == 4)
    #expect(numbers.decoded == [0: 1, 1: 1])
    numbers.broken.withLock { $0 = [] }
    #expect(try access.contents(1000..<1001) == [1])
  }

  @Test("the chunks that were not used for the longest time are dropped, and no others")
  func eviction() throws {
    let size = 100_000
    let numbers = Numbers([Int](repeating: size, count: 10))
    // Space for three.
    let access = ChunkedAccess(numbers, cacheSize: 350_000, threads: 0)
    for index in [0, 1, 2, 0, 3, 0, 4, 0, 2] {
      #expect(try access.contents(index * size..<index * size + 1) == [UInt8(index)])
    }
    #expect(numbers.decoded == [0: 1, 1: 1, 2: 2, 3: 1, 4: 1])
  }

  @Test("chunks larger than the cache are read, also by several threads")
  func largeChunks() throws {
    let numbers = Numbers([300_000, 10, 300_000, 10, 300_000])
    let access = ChunkedAccess(numbers, cacheSize: 1000, threads: 2)
    let all = numbers.contents
    let wrong = Mutex(0)
    try onThreads(4) { _ in
      if (try? access.contents(readSize: 50_000)) != all { wrong.withLock { $0 += 1 } }
    }
    #expect(wrong.withLock { $0 } == 0)
  }

  @Test("a sequential reader finds the next chunks decoded, a random one does not")
  func readahead() throws {
    let size = 300_000
    let numbers = Numbers([Int](repeating: size, count: 100))
    let access = ChunkedAccess(numbers, cacheSize: 4 << 20, threads: 2)
    for index in [90, 10, 50, 30, 70] { _ = try access.contents(index * size..<index * size + 9) }
    #expect(numbers.decoded == [90: 1, 10: 1, 50: 1, 30: 1, 70: 1])
    _ = try access.contents(readSize: 100_000).count
    #expect(numbers.mostRunning.withLock { $0 } >= 1)
    #expect(numbers.decoded.values.reduce(0, +) <= 200)

    let others = Numbers([Int](repeating: size, count: 100))
    let next = ChunkedAccess(others, cacheSize: 4 << 20, threads: 2)
    _ = try next.contents(0..<900_000)
    let isAhead = (0..<200).contains { _ in
      Host.sleep(milliseconds: 10)
      return others.decoded[5] == 1
    }
    #expect(isAhead, "\(others.decoded)")
    #expect(others.decoded[20] == nil)
  }
}
