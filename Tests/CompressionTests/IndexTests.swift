// SPDX-License-Identifier: Apache-2.0

import Foundation
import System
import SystemPackage
import TestSupport
import Testing

@testable import Compression

@Suite("Index of zstd data: decoding starts at proven points", Requirements(["zstd"]))
struct IndexTests {
  /// Content like that of a disk: the programs of this process.
  static let content: [UInt8] = {
    let maps = (try? String(contentsOfFile: "/proc/self/maps", encoding: .utf8)) ?? ""
    let files = maps.split(separator: "\n").compactMap { line in
      line.firstIndex(of: "/").map { String(line[$0...]) }
    }
    var data = Data()
    for file in Set(files).sorted() where data.count < 26_000_000 {
      if let bytes = try? Data(contentsOf: URL(fileURLWithPath: file)) { data += bytes }
    }
    return Array(data.prefix(26_000_000))
  }()

  /// A compressed file and its index, both in temporary files.
  struct Sample {
    let file: FileBytes
    let index: FileBytes
    let summary: String

    init(_ bytes: [UInt8], spacing: UInt64) throws {
      let packed = try Descriptor.temporaryFile(bytes)
      let output = try Descriptor.temporaryFile([])
      file = try FileBytes(packed)
      let builder = try IndexBuilder(file, output: output, spacing: spacing)
      let buffer = try Buffer(capacity: 1 << 18)
      while try builder.read(into: buffer, 0..<buffer.capacity) > 0 {}
      summary = try builder.finish(uuid: 0x0102_0304)
      index = try FileBytes(output)
    }

    func frames() throws -> ZstdIndexedFrames {
      let index = try IndexFile(index)
      return ZstdIndexedFrames(
        file, points: index.points, contentSize: index.contentSize, histories: self.index)
    }
  }

  /// Compares every byte of every chunk.
  static func check(_ frames: ZstdIndexedFrames, _ content: [UInt8]) throws {
    #expect(frames.chunks.first?.content.lowerBound == 0)
    #expect(frames.chunks.last?.content.upperBound == UInt64(content.count))
    for (number, chunk) in frames.chunks.enumerated().reversed() {
      let buffer = try Buffer(capacity: chunk.content.count)
      try frames.decode(number, into: buffer)
      let expected = try Buffer(capacity: chunk.content.count)
      expected.copy(
        Array(content[Int(chunk.content.lowerBound)..<Int(chunk.content.upperBound)]), to: 0)
      #expect(buffer.isEqual(0..<buffer.capacity, to: expected, at: 0), "chunk \(number)")
    }
  }

  @Test(
    "points in data that is stored do not hold after it, and that is noticed",
    arguments: ["-1 --single-thread", "-1 -T1", "-3 --single-thread"])
  func storedBlocks(options: String) throws {
    var random = SeededGenerator(seed: 5)
    var content = Array(Self.content[..<3_000_000])
    // A repetition is further away than the window.
    var noise: [UInt8] = []
    for _ in 0..<400_000 {
      let word = random.next()
      for shift in 0..<8 as Range<UInt64> {
        noise.append(UInt8(truncatingIfNeeded: word >> (8 * shift)))
      }
    }
    for _ in 0..<3 {
      content += noise
      content += Self.content[3_000_000..<5_500_000]
    }
    let packed = try #require(try run("zstd -q \(options) -c", content))
    try Self.check(try Sample(packed, spacing: 1 << 20).frames(), content)
  }

  @Test("frames in one file, and skippable frames, are points")
  func frames() throws {
    let (one, two) = (Array(Self.content[..<5_000_000]), Array(Self.content[5_000_000..<9_000_000]))
    let skippable: [UInt8] = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]
    let pieces = try [one, [], two, []].map { try #require(try run("zstd -1 -q -T1 -c", $0)) }
    let packed = skippable + pieces[0] + skippable + pieces[1] + pieces[2] + pieces[3] + skippable
    for spacing in [1 << 20, 3 << 20, 32 << 20] as [UInt64] {
      let sample = try Sample(packed, spacing: spacing)
      let points = try IndexFile(sample.index).points
      #expect(points.count == (spacing == 1 << 20 ? 4 : spacing == 3 << 20 ? 2 : 1))
      try Self.check(try sample.frames(), one + two)
    }
  }

  @Test("excerpts are read from the index, and all else from the content")
  func excerpts() throws {
    let content = try Descriptor.temporaryFile(Array(Self.content[..<2_000_000]))
    let packed = try Descriptor.temporaryFile(
      try #require(try run("zstd -1 -q -c", Array(Self.content[..<2_000_000]))))
    let (file, plain) = (try FileBytes(packed), try FileBytes(content))
    let output = try Descriptor.temporaryFile([])
    let builder = try IndexBuilder(file, output: output)
    let buffer = try Buffer(capacity: 1 << 20)
    while try builder.read(into: buffer, 0..<buffer.capacity) > 0 {}
    // The start, a long run of short excerpts, and some of other sizes.
    var ranges = [0..<150_001]
    for number in 0..<400 { ranges.append(200_000 + number * 512..<200_512 + number * 512) }
    for number in 0..<50 { ranges.append(500_000 + number * 9000..<500_007 + number * 9003) }
    for range in ranges {
      _ = try plain.read(into: buffer, 0..<range.count, at: UInt64(range.lowerBound))
      try builder.excerpts.add(at: UInt64(range.lowerBound), buffer, 0..<range.count)
    }
    _ = try builder.finish(uuid: 0x0102_0304)
    let index = try IndexFile(FileBytes(output))
    let unread = ExcerptReader(index, Unreadable(size: 2_000_000))
    let mixed = ExcerptReader(index, plain)
    let expected = try Buffer(capacity: 1 << 20)
    for range in ranges + [200_000..<404_800, 200_100..<200_700, 7..<149_000] {
      let offset = UInt64(range.lowerBound)
      #expect(try unread.read(into: buffer, 0..<range.count, at: offset) == range.count)
      _ = try plain.read(into: expected, 0..<range.count, at: offset)
      #expect(buffer.isEqual(0..<range.count, to: expected, at: 0), "\(range)")
    }
    #expect(unread.contiguous(from: 200_000) >= 512)
    #expect(unread.contiguous(from: 404_800) == 3)
    #expect(throws: Failure.self) { try unread.read(into: buffer, 0..<9, at: 404_799) }
    for offset in [0, 149_990, 199_000, 404_000, 499_999, 1_999_000] as [UInt64] {
      let count = try mixed.read(into: buffer, 0..<300_000, at: offset)
      #expect(try plain.read(into: expected, 0..<300_000, at: offset) == count)
      #expect(buffer.isEqual(0..<count, to: expected, at: 0), "\(offset)")
    }
  }

  @Test("excerpts that differ from the content are an error", arguments: [false, true])
  func wrongExcerpts(isWrong: Bool) throws {
    let content = Array(Self.content[..<2_000_000])
    let file = try FileBytes(
      Descriptor.temporaryFile(try #require(try run("zstd -1 -q -c", content))))
    let output = try Descriptor.temporaryFile([])
    let builder = try IndexBuilder(file, output: output)
    let buffer = try Buffer(capacity: 1 << 21)
    while try builder.read(into: buffer, 0..<buffer.capacity) > 0 {}
    for (number, start) in stride(from: 4096, to: 1_900_000, by: 300_000).enumerated() {
      var bytes = Array(content[start..<start + 512])
      if isWrong && number == 5 { bytes[511] ^= 1 }
      buffer.copy(bytes, to: 0)
      try builder.excerpts.add(at: UInt64(start), buffer, 0..<512)
    }
    _ = try builder.finish(uuid: 0x0102_0304)
    let frames = ZstdIndexedFrames(file, try IndexFile(FileBytes(output)))
    #expect(frames.chunks.count == 1)
    if isWrong {
      let failure = #expect(throws: Failure.self) { try frames.decode(0, into: buffer) }
      #expect(failure?.status == .badData)
    } else {
      try frames.decode(0, into: buffer)
    }
  }

  @Test("a changed index is refused, or gives the right data, but never other data")
  func mutations() throws {
    let content = Array(Self.content[..<5_000_000])
    let sample = try Sample(try #require(try run("zstd -1 -q -T1 -c", content)), spacing: 1 << 20)
    let size = Int(sample.index.size)
    let buffer = try Buffer(capacity: size)
    _ = try sample.index.read(into: buffer, 0..<size, at: 0)
    let bytes = buffer.withBytes(0..<size) { bytes in bytes.indices.map { bytes[$0] } }
    let tables = size - 128 - 64 * 2
    #expect(try IndexFile(sample.index).points.count == 2)
    var refused = 0
    for place in Array(0..<16) + Array(stride(from: 16, to: tables, by: tables / 40))
      + Array(tables..<size)
    {
      var changed = bytes
      changed[place] ^= UInt8(1 << (place % 8))
      let file = try FileBytes(Descriptor.temporaryFile(changed))
      do {
        let index = try IndexFile(file)
        try Self.check(
          ZstdIndexedFrames(
            sample.file, points: index.points, contentSize: index.contentSize, histories: file),
          content)
      } catch let failure as Failure {
        #expect(failure.status == .badData, "\(place): \(failure.message)")
        refused += 1
      }
    }
    // All but the reserved bytes after the version.
    #expect(refused >= 16 + 40 + 256 - 1)
    for count in [0, 7, 8, 15, 16, 143, 144, size / 2, size - 1] {
      #expect(throws: Failure.self, "\(count)") {
        try IndexFile(FileBytes(Descriptor.temporaryFile(Array(bytes[..<count]))))
      }
    }
  }

  @Test("tables that lie are refused, even with a right digest")
  func lies() throws {
    let content = Array(Self.content[..<5_000_000])
    let sample = try Sample(try #require(try run("zstd -1 -q -T1 -c", content)), spacing: 1 << 20)
    let size = Int(sample.index.size)
    let buffer = try Buffer(capacity: size)
    _ = try sample.index.read(into: buffer, 0..<size, at: 0)
    let (points, trailer) = (size - 256, size - 128)
    let numbers: [UInt64] = [
      0, 1, 17, UInt64(size), 1 << 20, 1 << 31, 1 << 32, 1 << 58, 1 << 62, 1 << 63, .max - 1, .max,
    ]
    let changed = try Buffer(capacity: size)
    for place in stride(from: points, to: points + 128, by: 8)
      .filter({ !(48..<64).contains(($0 - points) % 64) && !(32..<48).contains(($0 - points) % 64) }
      )
      + [16, 24, 80, 88, 96].map({ trailer + $0 })
    {
      for number in numbers {
        changed.copy(from: buffer, 0..<size, to: 0)
        changed.copy((0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * $0)) }, to: place)
        try IndexFormat.sign(changed, size, tables: points)
        let output = try Descriptor.temporaryFile([])
        try output.write(changed, 0..<size, at: 0)
        let file = try FileBytes(output)
        do {
          let index = try IndexFile(file)
          guard index.contentSize == UInt64(content.count) else { continue }
          try Self.check(
            ZstdIndexedFrames(
              sample.file, points: index.points, contentSize: index.contentSize, histories: file),
            content)
        } catch let failure as Failure {
          #expect(failure.status == .badData, "\(place) \(number): \(failure.message)")
        }
      }
    }
  }

  @Test("an archive that was replaced, has grown or was truncated is another one")
  func identity() throws {
    func identity(_ bytes: [UInt8]) throws -> ArchiveIdentity {
      try ArchiveIdentity(of: FileBytes(Descriptor.temporaryFile(bytes)))
    }
    let bytes = Array(Self.content[..<300_000])
    let right = try identity(bytes)
    #expect(right.difference(from: try identity(bytes)) == nil)
    #expect(right.difference(from: try identity(bytes + [0])) == "its size differs")
    #expect(right.difference(from: try identity(bytes.dropLast())) == "its size differs")
    var other = bytes
    other[0] ^= 1
    #expect(right.difference(from: try identity(other)) == "its first bytes differ")
    other = bytes
    other[299_999] ^= 1
    #expect(right.difference(from: try identity(other)) == "its last bytes differ")
    #expect(try identity([]).difference(from: try identity([])) == nil)
  }

  @Test("a changed archive gives an error that names the index")
  func changedArchive() throws {
    let content = Array(Self.content[..<5_000_000])
    var packed = try #require(try run("zstd -1 -q -T1 -c", content))
    let sample = try Sample(packed, spacing: 1 << 20)
    let index = try IndexFile(sample.index)
    for place in [packed.count / 4, packed.count / 3] {
      packed[place] ^= 1
      let file = try FileBytes(Descriptor.temporaryFile(packed))
      let frames = ZstdIndexedFrames(
        file, points: index.points, contentSize: index.contentSize, histories: sample.index)
      let buffer = try Buffer(capacity: frames.chunks[0].content.count)
      let failure = #expect(throws: Failure.self) { try frames.decode(0, into: buffer) }
      #expect(failure?.status == .badData)
      #expect(failure?.message.contains("match the index") == true, "\(failure?.message ?? "")")
      packed[place] ^= 1
    }
  }

  @Test(
    "every chunk decodes to its content",
    arguments: [
      // Options, the least number of chunks, and the maximum history in KiB.
      ("-1 --threads=1", 12, 64), ("-1 -T2", 12, 64), ("-3 --threads=1 -B3MiB", 2, 1024),
      ("-3 -T2 -B2MiB", 3, 256), ("-3 --threads=1", 3, 256), ("-3 --rsyncable -T1", 2, 256),
      ("-3 --single-thread", 2, 2048), ("-9 -T2 -B4MiB", 2, 1024),
      ("-1 --single-thread", 5, 512), ("-1 --rsyncable -T2", 5, 64), ("-1 --no-check", 5, 512),
    ])
  func chunks(options: String, least: Int, history: UInt32) throws {
    let packed = try #require(try run("zstd -q \(options) -c", Self.content))
    let sample = try Sample(packed, spacing: 1 << 20)
    let frames = try sample.frames()
    let points = try IndexFile(sample.index).points
    #expect(points.count >= least, "\(sample.summary)")
    #expect(points.allSatisfy { $0.history.size <= history << 10 }, "\(sample.summary)")
    try Self.check(frames, Self.content)
  }
}

/// A content that must not be read.
private final class Unreadable: RandomAccess {
  let name = "unreadable"
  let size: UInt64
  init(size: UInt64) { self.size = size }
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    throw Failure(.general, "was read at \(offset)")
  }
  func contiguous(from offset: UInt64) -> UInt64 { 3 }
}

extension Descriptor {
  /// An unlinked temporary file with some content.
  static func temporaryFile(_ bytes: [UInt8]) throws -> Descriptor {
    let path = FileManager.default.temporaryDirectory.path + "/vma-tools-\(UUID().uuidString)"
    _ = FileManager.default.createFile(atPath: path, contents: Data(bytes))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try Descriptor.open(FilePath(path), .readWrite)
  }
}
