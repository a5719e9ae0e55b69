// SPDX-License-Identifier: Apache-2.0

import System
import TestSupport
import Testing

@testable import Compression

/// Random access to frames of zstd.
@Suite("frames of zstd are read at any offset", Requirements(["zstd"]))
struct ZstdChunksTests {
  private static let parts: [[UInt8]] = [
    Shape.text.bytes, [], Shape.one.bytes, Shape.table.bytes, Shape.noise.bytes,
    Shape.zeros.bytes,
  ]
  private static let skippable: [UInt8] = [0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]

  private static func little(_ value: Int, _ count: Int = 4) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  /// Frames with stated sizes, and their stored and decoded sizes.
  private static func frames() throws -> (bytes: [UInt8], sizes: [(Int, Int)]) {
    var bytes: [UInt8] = []
    var sizes: [(Int, Int)] = []
    for part in parts {
      let frame = try #require(try run("zstd -q -c --stream-size=\(part.count)", part))
      bytes += frame
      sizes.append((frame.count, part.count))
    }
    return (bytes, sizes)
  }

  private static func table(
    _ sizes: [(Int, Int)], checksums: Bool = false, count: Int? = nil
  ) -> [UInt8] {
    var entries: [UInt8] = []
    for (stored, content) in sizes {
      entries += little(stored) + little(content)
      if checksums { entries += [1, 2, 3, 4] }
    }
    var table = little(0x184d_2a5e) + little(entries.count + 9) + entries
    table += little(count ?? sizes.count)
    table.append(checksums ? 0x80 : 0)
    return table + little(0x8f92_eab1)
  }

  private func contents(_ bytes: [UInt8]) throws -> [UInt8]? {
    guard let chunks = try ZstdChunks.find(in: MemoryBytes(bytes)) else { return nil }
    return try ChunkedAccess(chunks, threads: 1).contents()
  }

  @Test("with a seek table, or by walking, also with skippable frames between")
  func sound() throws {
    let (bytes, sizes) = try Self.frames()
    let data = Self.parts.flatMap { $0 }
    #expect(try contents(bytes) == data)
    #expect(try contents(Self.skippable + bytes + Self.skippable + bytes) == data + data)
    #expect(try contents(bytes + Self.table(sizes)) == data)
    #expect(try contents(bytes + Self.table(sizes, checksums: true)) == data)
    let between = Self.skippable + bytes + Self.table([(Self.skippable.count, 0)] + sizes)
    #expect(try contents(between) == data)
  }

  @Test("finding the frames reads only headers and the table")
  func cost() throws {
    let (bytes, sizes) = try Self.frames()
    let walked = MemoryBytes(bytes)
    #expect(try ZstdChunks.find(in: walked)?.chunks.count == 5)
    #expect(walked.readCount < bytes.count / 2, "\(walked.readCount) of \(bytes.count)")
    let listed = MemoryBytes(bytes + Self.table(sizes))
    #expect(try ZstdChunks.find(in: listed)?.chunks.count == 5)
    #expect(listed.readCount < 200)
  }

  @Test("data without stated sizes, large single frames and damaged data are not seekable")
  func refused() throws {
    let (bytes, _) = try Self.frames()
    let stream = try #require(try run("zstd -q -c", Shape.text.bytes))
    let large = [UInt8](repeating: 7, count: 17 << 20)
    let single = try #require(try run("zstd -q -c --stream-size=\(large.count)", large))
    for other in [
      [], stream, bytes + stream, single, Array(bytes.dropLast()), bytes + [0], bytes + bytes[..<9],
      bytes + Self.skippable.dropLast(), Self.skippable,
    ] {
      #expect(try ZstdChunks.find(in: MemoryBytes(other)) == nil)
    }
  }

  @Test("a seek table that does not fit the file is not used")
  func lies() throws {
    let (bytes, sizes) = try Self.frames()
    let data = Self.parts.flatMap { $0 }
    var longer = sizes
    longer[2].0 += 1
    var huge = sizes
    huge[3].1 = (1 << 30) + 1
    let wrong: [[UInt8]] = [
      Self.table(longer), Self.table(huge), Self.table(Array(sizes.dropLast())),
      Self.table(sizes, count: 1 << 27), Self.table(sizes, count: sizes.count + 1),
      Self.table(sizes, count: 0), Self.table([]), Self.table(sizes + [(0, 5)]),
      // A frame with data that is listed as empty.
      Self.table(sizes.map { ($0.0, $0.1 == 1 ? 0 : $0.1) }),
      Self.table([(0xffff_ffff, 0xffff_ffff)] + sizes),
    ]
    for table in wrong { #expect(try contents(bytes + table) == data) }
  }

  @Test("frames that the table hides after an empty one are not hidden")
  func hiddenFrames() throws {
    let (bytes, sizes) = try Self.frames()
    let data = Self.parts.flatMap { $0 }
    // The second frame is empty, and the table says that the third one belongs to it.
    var hiding = sizes
    hiding[1].0 += hiding.remove(at: 2).0
    #expect(try contents(bytes + Self.table(hiding)) == data)
  }

  @Test("frames of other sizes than the table states are an error")
  func wrongSizes() throws {
    let (bytes, sizes) = try Self.frames()
    var shifted = sizes
    shifted[0].1 -= 1
    shifted[3].1 += 1
    var cut = sizes
    cut[0].0 -= 1
    cut[1].0 += 1
    var joined = sizes
    joined[3] = (sizes[3].0 + sizes[4].0, sizes[3].1 + sizes[4].1)
    joined.remove(at: 4)
    for sizes in [shifted, cut, joined] {
      let failure = #expect(throws: Failure.self) {
        let found = try contents(bytes + Self.table(sizes))
        // Damage that is noticed at once.
        if found == Self.parts.flatMap({ $0 }) { throw Failure(.badData, "zstd: walked") }
      }
      #expect(failure?.status == .badData && failure?.message.contains("zstd") == true)
    }
  }

  @Test("no mutation of a file or its table traps, or gives other data", arguments: 0..<3)
  func mutations(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let parts = Self.parts.map { Array($0.prefix(3000)) }
    var bytes: [UInt8] = []
    var sizes: [(Int, Int)] = []
    for part in parts {
      let frame = try #require(try run("zstd -q -c --stream-size=\(part.count)", part))
      bytes += frame
      sizes.append((frame.count, part.count))
    }
    let table = seed == 0 ? [] : Self.table(sizes, checksums: seed == 1)
    for _ in 0..<400 {
      var mutated = bytes + table
      for _ in 0..<Int.random(in: 1...2, using: &random) {
        let isInTable = !table.isEmpty && Bool.random(using: &random)
        let place = Int.random(in: (isInTable ? bytes.count : 0)..<mutated.count, using: &random)
        mutated[place] =
          [0, 255, mutated[place] ^ 1, mutated[place] &+ 1][
            Int.random(in: 0..<4, using: &random)]
      }
      guard let found = try? contents(mutated) else { continue }
      let all = parts.flatMap { $0 }
      if found != all {
        // The sequential decoder gives the same.
        #expect(try Decompressor.decompress(mutated, limit: 1 << 20) == found)
      }
    }
  }

  @Test("a damaged frame is an error with its place, and the others are read")
  func damage() throws {
    let (bytes, sizes) = try Self.frames()
    var damaged = bytes
    damaged[sizes[0].0 / 2] ^= 0x40
    let chunks = try #require(try ZstdChunks.find(in: MemoryBytes(damaged + Self.table(sizes))))
    let access = ChunkedAccess(chunks, threads: 0)
    let failure = #expect(throws: Failure.self) { try access.contents(0..<10) }
    #expect(failure?.message.contains("frame at byte 0") == true)
    let start = Self.parts[0].count
    #expect(try access.contents(start..<start + 1000) == Self.parts[2] + Self.parts[3].prefix(999))
  }
}
