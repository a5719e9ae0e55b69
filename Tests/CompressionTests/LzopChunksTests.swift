// SPDX-License-Identifier: Apache-2.0

import System
import TestSupport
import Testing

@testable import Compression

@Suite("blocks of lzop are read at any offset", Requirements(["lzop"]))
struct LzopChunksTests {
  private func contents(_ bytes: [UInt8]) throws -> [UInt8]? {
    guard let chunks = try LzopChunks.find(in: MemoryBytes(bytes)) else { return nil }
    return try ChunkedAccess(chunks, threads: 1).contents()
  }

  @Test("every kind of member", arguments: ["-1", "-9 --crc32", "-1 -F", "-3 --filter=4"])
  func members(options: String) throws {
    let shapes: [Shape] = [.noise, .text, .zeros]
    let data = shapes.flatMap(\.bytes)
    let one = try #require(try run("lzop \(options) -c", data))
    let two = try #require(try run("lzop -1 -c", Shape.table.bytes))
    let none = try #require(try run("lzop -c", []))
    #expect(try contents(one) == data)
    #expect(try contents(none + one + none + two) == data + Shape.table.bytes)
  }

  @Test("finding the blocks reads only headers")
  func cost() throws {
    let data = [UInt8](repeating: 0, count: 100) + Shape.noise.bytes + Shape.noise.bytes
    let bytes = MemoryBytes(try #require(try run("lzop -1 -c", data)))
    #expect(try LzopChunks.find(in: bytes)?.chunks.count == 3)
    #expect(bytes.readCount < 20_000)
  }

  @Test("damaged headers are left to sequential reading, and damaged blocks are errors")
  func damage() throws {
    let data = Shape.text.bytes
    let bytes = try #require(try run("lzop -1 -c", data))
    for other in [Array(bytes.dropLast()), bytes + [0], bytes + [1, 2, 3, 4], []] {
      #expect(try LzopChunks.find(in: MemoryBytes(other)) == nil)
    }
    var damaged = bytes
    damaged[bytes.count / 3] ^= 0x10
    let chunks = try #require(try LzopChunks.find(in: MemoryBytes(damaged)))
    let access = ChunkedAccess(chunks, threads: 0)
    let failure = #expect(throws: Failure.self) { try access.contents() }
    #expect(failure?.status == .badData && failure?.message.contains("lzop: block at") == true)
    #expect(try access.contents(data.count - 5..<data.count) == data.suffix(5))
  }

  @Test("no mutation traps, or gives other data than the sequential decoder", arguments: 0..<3)
  func mutations(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let data = Array(Shape.mixed.bytes.prefix(20_000))
    let bytes = try #require(try run("lzop \(["-1", "-9 --crc32", "-1 -F"][Int(seed)]) -c", data))
    for _ in 0..<400 {
      var mutated = bytes
      let place = Int.random(in: 0..<mutated.count, using: &random)
      mutated[place] =
        [0, 255, mutated[place] ^ 1, mutated[place] &+ 1][
          Int.random(in: 0..<4, using: &random)]
      guard let found = try? contents(mutated), found != data else { continue }
      #expect(try Decompressor.decompress(mutated, limit: 1 << 20) == found)
    }
  }
}
