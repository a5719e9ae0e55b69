// SPDX-License-Identifier: Apache-2.0

import Compression
import System
import TestSupport
import Testing

@Suite(
  "After compressed data, only padding of the format and further frames are accepted",
  Requirements(["zstd", "gzip", "xz", "bzip2", "lz4", "lzop"]))
struct TrailingBytesTests {
  private static let commands = [
    "zstd -qc", "gzip -c", "xz -c", "bzip2 -c", "lz4 -qc", "lz4 -lqc", "lzop -c",
  ]
  private static let skippable: [UInt8] = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]

  private func decompress(_ bytes: [UInt8]) throws -> [UInt8]? {
    try Decompressor.decompress(bytes, limit: 4 << 20)
  }

  @Test(arguments: commands)
  func `anything else is an error`(command: String) throws {
    let data = Shape.table.bytes
    let packed = try #require(try run(command, data))
    #expect(try decompress(packed) == data)
    var tails: [[UInt8]] = [
      [0], [0, 0, 0], [0, 0, 0, 0], [UInt8](repeating: 0, count: 512), Array("junk".utf8),
      [1, 0, 0, 0, 0], [255, 255, 255, 255], Array("VMA".utf8), Array("VMAE".utf8),
      [UInt8](repeating: 255, count: 512), Self.skippable,
    ]
    tails += (1..<Self.skippable.count).map { Array(Self.skippable.prefix($0)) }
    for other in Self.commands where other != command {
      // One format of lz4 may follow the other.
      if other.hasPrefix("lz4"), command.hasPrefix("lz4") { continue }
      tails.append(try #require(try run(other, data)))
    }
    for tail in tails {
      let isPadding = command.hasPrefix("xz") && tail.count % 4 == 0 && tail.allSatisfy { $0 == 0 }
      let isFrame =
        tail == Self.skippable && (command.hasPrefix("zstd") || command.hasPrefix("lz4"))
      if isPadding || isFrame {
        #expect(try decompress(packed + tail) == data, "\(tail.prefix(12))")
      } else {
        #expect(throws: Failure.self, "\(tail.prefix(12)), \(tail.count) bytes") {
          try decompress(packed + tail)
        }
      }
    }
  }

  @Test(arguments: commands + ["xz -0 --block-size=300 -c"])
  func `reads can end anywhere`(command: String) throws {
    let data = Shape.table.bytes
    let packed = try #require(try run(command, data))
    let empty = try #require(try run(command, []))
    for readSize in [1, 3, 13, 16, 17, 4096] {
      let found = try Decompressor.decompress(
        empty + packed + empty, limit: 4 << 20, readSize: readSize)
      #expect(found == data, "\(readSize)")
    }
  }

  @Test(arguments: commands)
  func `a skippable frame may come first in zstd and lz4`(command: String) throws {
    let data = Shape.table.bytes
    let packed = Self.skippable + Self.skippable + (try #require(try run(command, data)))
    if command.hasPrefix("zstd") || command.hasPrefix("lz4") {
      #expect(try decompress(packed) == data)
      #expect(throws: Failure.self) { try decompress(packed + Array("junk".utf8)) }
    } else {
      #expect(throws: Failure.self) { try decompress(packed) }
    }
  }

  @Test(arguments: commands)
  func `a second frame must be complete`(command: String) throws {
    let (first, second) = (Shape.one.bytes, Array("another file".utf8))
    let one = try #require(try run(command, first))
    let two = try #require(try run(command, second))
    #expect(try decompress(one + two) == first + second)
    for count in 1..<two.count {
      // The legacy format of lz4 has no end mark: its header alone is an empty frame.
      if command.hasPrefix("lz4 -l"), count == 4 { continue }
      #expect(throws: Failure.self, "\(count) of \(two.count) bytes") {
        try decompress(one + two.prefix(count))
      }
    }
  }
}
