// SPDX-License-Identifier: Apache-2.0

import Compression
import System

extension Target {
  /// An index file: it is refused, or all that it describes can be read or is refused.
  public static let index = Target(name: "index") { input in
    var bytes = input
    let least = 16 + 128
    if bytes.count >= least {
      // Most inputs would be refused because of these.
      let start = Array("VMAINDEX".utf8) + [0, 0, 0, 1]
      let trailer = bytes.count - 128
      bytes.replaceSubrange(0..<12, with: start)
      bytes.replaceSubrange(trailer..<trailer + 12, with: start)
      let tables = bytes[trailer + 96..<trailer + 104].reduce(0) { $0 &<< 8 | Int($1) }
      if (16...trailer).contains(tables) {
        let buffer = try Buffer(capacity: bytes.count)
        buffer.copy(bytes, to: 0)
        try IndexFormat.sign(buffer, bytes.count, tables: tables)
        bytes = buffer.withBytes(0..<bytes.count) { bytes in bytes.indices.map { bytes[$0] } }
      }
    }
    do {
      let file = MemoryBytes(bytes)
      let index = try IndexFile(file)
      let archive = MemoryBytes([0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0], size: index.identity.size)
      let frames = ZstdIndexedFrames(
        archive, points: index.points, contentSize: index.contentSize, histories: file)
      let reader = ExcerptReader(index, MemoryBytes([], size: index.contentSize))
      let buffer = try Buffer(capacity: 1 << 16)
      for (number, chunk) in frames.chunks.enumerated().prefix(4) {
        try require(chunk.content.upperBound <= index.contentSize, "chunk \(number)")
        let offset = chunk.content.lowerBound
        try require(reader.contiguous(from: offset) > 0, "contiguous at \(offset)")
        _ = try reader.read(into: buffer, 0..<buffer.capacity, at: offset)
        if chunk.content.count <= buffer.capacity { try frames.decode(number, into: buffer) }
      }
    } catch let failure as Failure {
      try require(failure.status == .badData, "\(failure.status) \(failure.message)")
    }
  }
}

/// Bytes in memory, and zeros after them.
private final class MemoryBytes: RandomAccess {
  let name = "memory"
  let size: UInt64
  private let bytes: [UInt8]

  init(_ bytes: [UInt8], size: UInt64? = nil) {
    self.bytes = bytes
    self.size = size ?? UInt64(bytes.count)
  }

  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) -> Int {
    let count = Int(min(UInt64(range.count), size - min(size, offset)))
    buffer.fillWithZeros(range.lowerBound..<range.lowerBound + count)
    if offset < UInt64(bytes.count) {
      buffer.copy(Array(bytes[Int(offset)...].prefix(count)), to: range.lowerBound)
    }
    return count
  }
}
