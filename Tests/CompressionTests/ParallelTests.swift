// SPDX-License-Identifier: Apache-2.0

import Compression
import Foundation
import Synchronization
import System
import TestSupport
import Testing

/// What a reader gets from a compressed file: data, and then possibly a fault.
struct Reading: Equatable, CustomStringConvertible {
  var data: [UInt8] = []
  var fault: String?

  init(
    _ bytes: [UInt8], threads: Int, readSize: Int = .max, pieceSize: Int = 1 << 16
  ) throws {
    do {
      let source = Decompressor.MemorySource(bytes, readSize: readSize)
      _ = try Decompressor.decompress(
        source, magic: Array(bytes.prefix(16)), pieceSize: pieceSize, threads: threads
      ) { piece in
        piece.withUnsafeBufferPointer { data.append(contentsOf: $0) }
        return true
      }
    } catch let failure as Failure {
      #expect(failure.status == .badData)
      fault = failure.message
    }
  }

  var description: String { "\(data.count) bytes, \(fault ?? "no fault")" }
}

@Suite("Frames of zstd are decoded in parallel", Requirements(["zstd"]))
struct ParallelTests {
  private static let skippable: [UInt8] = [0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]

  /// A frame with content size and checksum.
  private static func frame(_ data: [UInt8], _ options: String = "") throws -> [UInt8] {
    let size = options.contains("size") ? "" : "--stream-size=\(data.count)"
    return try #require(try run("zstd -qc \(size) \(options)", data))
  }

  private static func noise(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SeededGenerator(seed: seed)
    let words = (0..<count / 8 + 1).map { _ in random.next() }
    return words.withUnsafeBytes { Array($0.prefix(count)) }
  }

  private static let shapes: [Shape] = [.text, .noise, .empty, .zeros, .one, .mixed, .table]

  private static func content(_ shape: Shape) -> [UInt8] { Array(shape.bytes.prefix(150_000)) }

  /// Expects the same as from one thread.
  @discardableResult
  private func expectSame(
    _ bytes: [UInt8], _ what: String = "", sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Reading {
    let expected = try Reading(bytes, threads: 1)
    for (threads, readSize, pieceSize) in [
      (2, Int.max, 1 << 16), (3, 777, 50_000), (16, 65_536, 1 << 22),
    ] {
      let found = try Reading(bytes, threads: threads, readSize: readSize, pieceSize: pieceSize)
      #expect(
        found == expected, "\(what), \(threads) threads, reads of \(readSize)",
        sourceLocation: sourceLocation)
    }
    return expected
  }

  /// Frames of many kinds that give several jobs, and their content.
  private static func mixedFrames() throws -> (frames: [[UInt8]], content: [UInt8]) {
    var frames: [[UInt8]] = []
    var content: [UInt8] = []
    for (index, shape) in shapes.enumerated() {
      let data = Self.content(shape)
      frames.append(try frame(data, index % 2 == 0 ? "" : "-1"))
      content += data
    }
    return (frames, content)
  }

  @Test func `all frames in order, whatever the threads and the reads`() throws {
    let (frames, content) = try Self.mixedFrames()
    let whole = try expectSame(frames.flatMap { $0 })
    #expect(whole.fault == nil)
    #expect(whole.data == content)
    let many = Array(repeating: frames, count: 5).flatMap { $0 }.flatMap { $0 }
    #expect(try expectSame(many).data.count == 5 * content.count)
  }

  @Test func `thousands of tiny frames and empty ones`() throws {
    let tiny = try (0..<5).map { try Self.frame(Self.noise(100, seed: UInt64($0))) }
    let empty = try Self.frame([])
    var bytes: [UInt8] = []
    for index in 0..<20_000 { bytes += index % 7 == 0 ? empty : tiny[index % 5] }
    let found = try expectSame(bytes)
    #expect(found.fault == nil)
    #expect(found.data.count == (0..<20_000).count { $0 % 7 != 0 } * 100)
    #expect(try expectSame(Array(repeating: empty, count: 50).flatMap { $0 }).fault == nil)
  }

  @Test func `skippable frames at the start, in the middle and at the end`() throws {
    let (frames, content) = try Self.mixedFrames()
    var bytes = Self.skippable
    for frame in frames { bytes += frame + Self.skippable + Self.skippable }
    let large = [0x5a, 0x2a, 0x4d, 0x18, 0, 0, 0x20, 0] + [UInt8](repeating: 7, count: 0x20_0000)
    bytes += large + frames[0] + large
    let found = try expectSame(bytes)
    #expect(found.fault == nil)
    #expect(found.data == content + Self.content(.text))
    // A skippable frame of 4 GiB that is truncated.
    let endless: [UInt8] = [0x50, 0x2a, 0x4d, 0x18, 255, 255, 255, 255]
    #expect(try expectSame(bytes + endless + frames[0]).fault?.contains("truncated") == true)
    // After a frame of zstd, those of lz4 are other data.
    #expect(
      try expectSame(bytes + [0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7, 0, 0, 0, 0]).fault != nil)
  }

  @Test func `frames that are too large, of unknown size, or without a checksum`() throws {
    let small = try Self.frame(Self.noise(300_000, seed: 1))
    let zeros = [UInt8](repeating: 0, count: 17 << 20)
    let others = [
      try Self.frame(zeros), try #require(try run("zstd -qc", Self.noise(2_000_000, seed: 2))),
      try Self.frame(Shape.text.bytes, "--no-check"),
      try Self.frame(Self.noise(1_500_000, seed: 3), "--no-check"),
    ]
    var bytes: [UInt8] = []
    for other in others { bytes += Array(repeating: small, count: 6).flatMap { $0 } + other }
    bytes += Array(repeating: small, count: 6).flatMap { $0 }
    let found = try expectSame(bytes)
    #expect(found.fault == nil)
    #expect(found.data.count == 30 * 300_000 + zeros.count + 3_500_000 + Shape.text.bytes.count)
  }

  @Test("frames of pzstd, which do not contain their size", Requirements(["pzstd"]))
  func pzstd() throws {
    let content = Shape.text.bytes
    let data = (0..<3).flatMap { Self.noise(3_000_000, seed: $0) + content }
    let bytes = try #require(try run("pzstd -q -1 -p 4 -c", data))
    #expect(bytes.starts(with: [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0]))
    #expect(try expectSame(bytes).data == data)
    for cut in [1, 3, 8, 2000, bytes.count / 2] {
      #expect(try expectSame(Array(bytes.dropLast(cut))).fault?.contains("truncated") == true)
    }
  }

  @Test func `damage is found where one thread finds it, and the data before it is delivered`()
    throws
  {
    let (mixed, data) = try Self.mixedFrames()
    let frames = [try Self.frame([1])] + mixed
    let content = [1] + data
    let whole = frames.flatMap { $0 }
    var start = frames[0].count
    var before = 1
    for (index, shape) in Self.shapes.enumerated() {
      let end = start + mixed[index].count
      var bytes = whole
      // The checksum, a block, the header.
      for place in [end - 1, end - 5, start + (end - start) / 2, start + 4, start] {
        bytes[place] ^= 0x15
        let found = try expectSame(bytes, "frame \(index), byte \(place - start)")
        #expect(found.fault != nil)
        #expect(found.data.count >= before)
        bytes[place] ^= 0x15
      }
      for cut in [start + 1, start + 5, (start + end) / 2, end - 1, end - 4] {
        let found = try expectSame(Array(whole.prefix(cut)), "frame \(index), cut at \(cut)")
        #expect(found.fault?.hasPrefix("memory: zstd: ") == true)
        #expect(found.data == Array(content.prefix(found.data.count)))
        #expect(found.data.count >= before)
      }
      start = end
      before += Self.content(shape).count
    }
    for tail in [[0], Array("other data".utf8), [0x28, 0xb5, 0x2f, 0xfd], [0x1f, 0x8b, 8, 0, 0]] {
      let found = try expectSame(whole + tail)
      #expect(found.data == content && found.fault != nil)
    }
  }

  @Test func `a content size that is wrong`() throws {
    let data = Array(Self.noise(40_000, seed: 4) + Shape.text.bytes.prefix(60_000))
    let frame = try Self.frame(data)
    // A single segment: the descriptor, and four bytes for the size.
    #expect(frame[4] == 0xa4)
    for size in [0, 1, 99_999, 100_001, 16 << 20, (16 << 20) + 1, 128 << 20, 0xffff_ffff] {
      var wrong = frame
      for index in 0..<4 { wrong[5 + index] = UInt8(truncatingIfNeeded: size >> (8 * index)) }
      let found = try expectSame(frame + frame + wrong + frame, "\(size)")
      #expect(found.fault != nil, "\(size)")
      #expect(found.data.count >= 2 * data.count)
    }
    for top in [0x80, 0xff, 0x7f, 0] as [UInt8] {
      // Eight bytes for the size, with and without a window.
      for descriptor in [0xe4, 0xc4] as [UInt8] {
        let sized: [UInt8] = [0, 0, 0, 0, 0, 0, 0, top]
        let wrong =
          frame.prefix(4) + [descriptor] + (descriptor == 0xc4 ? [0x50] : []) + sized
          + frame.dropFirst(9)
        #expect(try expectSame(frame + frame + wrong + frame).fault != nil, "\(top)")
      }
    }
    // Too large a window.
    let window = Array(frame.prefix(4)) + [0x84, 0x90, 0, 0, 1, 0] + frame.dropFirst(9)
    #expect(try expectSame(frame + frame + window).fault?.contains("256 MiB") == true)
  }

  @Test("no mutation gives another result than with one thread", arguments: 0..<4)
  func mutations(group: UInt64) throws {
    var random = SeededGenerator(seed: group + 40)
    var frames = try (0..<6).map { index in
      try Self.frame(
        Array(Shape.text.bytes.dropFirst(index * 5000).prefix(1000 * (index + 1)))
          + Self.noise(500, seed: UInt64(index)), index == 4 ? "--no-check" : "")
    }
    frames.append(try #require(try run("zstd -qc", Self.noise(3000, seed: 9))))
    frames.append(Self.skippable)
    for _ in 0..<100 * Soak.factor {
      var bytes = frames[0]
      for _ in 0..<12 { bytes += frames[Int.random(in: 0..<frames.count, using: &random)] }
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<6, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2: bytes.remove(at: place)
        case 3: bytes.insert(0, at: place)
        case 4: bytes.removeSubrange(place..<min(place + 700, bytes.count))
        default: bytes = Array(bytes.prefix(place + 1))
        }
        if bytes.isEmpty { bytes = [0] }
      }
      // The magic of another format.
      guard bytes.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) else { continue }
      let expected = try Reading(bytes, threads: 1)
      let readSize = [1, 100, 5000, Int.max].randomElement(using: &random) ?? 1
      let found = try Reading(bytes, threads: 3, readSize: readSize)
      #expect(found == expected, "\(bytes.count) bytes, reads of \(readSize)")
    }
  }

  /// The same frames forever, which a thread reads ahead.
  private final class Endless: ByteSource, @unchecked Sendable {
    private let frames: [UInt8]
    private let count: Mutex<Int>

    init(_ frames: [UInt8]) {
      self.frames = frames
      count = Mutex(0)
    }

    var bytesRead: Int { count.withLock { $0 * frames.count } }

    func read(into buffer: Buffer, _ range: Range<Int>) -> Int {
      buffer.copy(frames, to: range.lowerBound)
      count.withLock { $0 += 1 }
      return frames.count
    }
  }

  @Test func `a reader that stops releases the threads, and reading ahead is limited`() throws {
    let frames = try Self.frame(Self.noise(200_000, seed: 5))
    weak var source: Endless?
    do {
      let endless = Endless(frames)
      source = endless
      var received = 0
      _ = try Decompressor.decompress(endless, magic: frames, threads: 3) { piece in
        received += piece.count
        if received > 2_000_000, received < 2_100_000 { Host.sleep(milliseconds: 200) }
        return received < 3_000_000
      }
      #expect(received < 3_200_000)
      // Jobs of 4 MiB at most.
      #expect(endless.bytesRead < 3_200_000 + 10 * (4 << 20))
    }
    let end = Host.uptime + 20
    while source != nil, Host.uptime < end { Host.sleep(milliseconds: 5) }
    #expect(source == nil)
  }

  /// A source that waits after its bytes, as a pipe does.
  private final class Waiting: ByteSource, @unchecked Sendable {
    private let source: Decompressor.MemorySource
    private let mayEnd = Channel<Void>()

    init(_ bytes: [UInt8]) { source = Decompressor.MemorySource(bytes, readSize: 1000) }

    func end() { mayEnd.finish() }

    func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
      let count = source.read(into: buffer, range)
      if count == 0 { _ = try mayEnd.receive() }
      return count
    }
  }

  @Test func `complete frames are delivered while the source waits`() throws {
    let data = Self.noise(10_000, seed: 6)
    let frame = try Self.frame(data)
    for tail in [0, 3, 5, 9, 5000] {
      let source = Waiting(Array(repeating: frame, count: 9).flatMap { $0 } + frame.prefix(tail))
      var received = 0
      do {
        _ = try Decompressor.decompress(source, magic: frame, threads: 2) { piece in
          received += piece.count
          // If a frame were held back, this would never be reached.
          if received == 9 * data.count { source.end() }
          return true
        }
        #expect(tail == 0)
      } catch { #expect(tail > 0) }
      #expect(received == 9 * data.count)
    }
  }
}
