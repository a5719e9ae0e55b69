// SPDX-License-Identifier: Apache-2.0

import Compression
import Foundation
import System
import TestSupport
import Testing

@Suite("B2: lzop files are decoded here", Requirements(["lzop"]))
struct LzopTests {
  private static let limit = 4 << 20
  private static let options = [
    "-1", "-2", "-3", "-4", "-5", "-6", "-7", "-8", "-9", "-1 -F", "-3 --crc32", "-1 --filter=1",
    "-3 --filter=4", "-9 --filter=16 --crc32",
  ]

  @Test(
    "B2: output of lzop is decoded, at every level, for every kind of data", arguments: options)
  func roundTrip(options: String) throws {
    for shape in Shape.allCases {
      let data = shape.bytes
      let packed = try #require(try run("lzop \(options) -c", data))
      let pieceSize = [1 << 22, 1 << 16, 777][packed.count % 3]
      let found = try Decompressor.decompress(packed, limit: Self.limit, pieceSize: pieceSize)
      #expect(found == data, "\(shape) \(options) \(pieceSize)")
    }
  }

  @Test("B2: several members are one file, and anything else after the last is an error")
  func members() throws {
    let (first, second) = (Shape.mixed.bytes, Shape.text.bytes)
    let one = try #require(try run("lzop -1 -c", first))
    let two = try #require(try run("lzop -9 --crc32 -c", second))
    let none = try #require(try run("lzop -c", []))
    let limit = Self.limit
    #expect(try Decompressor.decompress(one + none + two, limit: limit) == first + second)
    for tail in [[0], [0, 0, 0, 0], [UInt8](repeating: 0, count: 512), Array("garbage".utf8)] {
      #expect(throws: Failure.self) { try Decompressor.decompress(one + tail, limit: limit) }
    }
    for cut in [1, 4, 5, 100, one.count / 2, one.count - 12] {
      #expect(throws: Failure.self, "cut by \(cut)") {
        try Decompressor.decompress(Array(one.dropLast(cut)), limit: limit)
      }
    }
  }

  /// With checksums, a mutation is detected or has no effect. Without them (`-F`), the result may
  /// be the same wrong data as from `lzop` itself, but no other.
  @Test("B2: no mutation traps, or gives other data than lzop", arguments: 0..<4)
  func mutations(group: UInt64) throws {
    var random = SeededGenerator(seed: group + 1)
    let shapes: [Shape] = [.shortMatches, .farMatches, .table, .mixed]
    let data = Array(shapes[Int(group)].bytes.prefix(60_000))
    for options in ["-3", "-9", "-1 -F"] {
      let packed = try #require(try run("lzop \(options) -c", data))
      for number in 0..<150 {
        var bytes = packed
        for _ in 0..<Int.random(in: 1...3, using: &random) {
          let place = Int.random(in: 0..<bytes.count, using: &random)
          switch Int.random(in: 0..<5, using: &random) {
          case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
          case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
          case 2: bytes.remove(at: place)
          case 3: bytes.insert(0, at: place)
          default: bytes[place] = 0
          }
          if bytes.isEmpty { bytes = [0] }
        }
        let log = DamageLog()
        _ = try Decompressor.decompress(bytes, limit: Self.limit, log: log)
        guard let found = try? Decompressor.decompress(bytes, limit: Self.limit) else { continue }
        #expect(log.faultCount == 0)
        if found != data, number % 8 == 0 || !options.hasSuffix("-F") {
          let theirs = try run("lzop -dc", bytes)
          #expect(theirs == nil || theirs == found, "\(options) \(number)")
          #expect(options.hasSuffix("-F"), "\(options) \(number)")
        }
      }
    }
  }

  @Test("B2: a damaged block affects neither other blocks nor the position of their data")
  func damagedBlock() throws {
    let data = Shape.text.bytes
    var bytes = try #require(try run("lzop -1 -c", data))
    bytes[bytes.count / 3] ^= 0x10
    let log = DamageLog()
    let found = try #require(try Decompressor.decompress(bytes, limit: Self.limit, log: log))
    #expect(log.faultCount == 1)
    #expect(found.count == data.count)
    let blockSize = 1 << 18
    let isBad = stride(from: 0, to: data.count, by: blockSize).map { start in
      let range = start..<min(start + blockSize, data.count)
      return data[range] != found[range]
    }
    #expect(isBad.filter(\.self).count == 1)
    for (index, isBad) in isBad.enumerated() {
      let start = UInt64(index * blockSize)
      let verdict = log.verdict(on: start..<min(start + UInt64(blockSize), UInt64(data.count)))
      #expect((verdict == .sound) == !isBad)
    }
  }
}
