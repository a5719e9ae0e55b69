// SPDX-License-Identifier: Apache-2.0

import System

/// Decompression in memory, for tests and fuzzers, with the same decoders as the tools.
package enum Decompressor {
  private final class MemorySource: ByteSource, @unchecked Sendable {
    private let bytes: [UInt8]
    private let readSize: Int
    private var position = 0

    init(_ bytes: [UInt8], readSize: Int) {
      self.bytes = bytes
      self.readSize = readSize
    }

    func read(into buffer: Buffer, _ range: Range<Int>) -> Int {
      let count = min(range.count, bytes.count - position, readSize)
      buffer.copy(Array(bytes[position..<position + count]), to: range.lowerBound)
      position += count
      return count
    }
  }

  /// Decompresses bytes; their start determines the method.
  ///
  /// - Parameters:
  ///   - limit: the maximum size of the result.
  ///   - pieceSize: the maximum size of a piece of the result.
  ///   - readSize: the maximum size of a read of `bytes`.
  ///   - log: records faults, and reading continues after them; nil to throw the first fault.
  /// - Returns: the data; nil if `bytes` are not compressed.
  package static func decompress(
    _ bytes: [UInt8], limit: Int, pieceSize: Int = 1 << 16, readSize: Int = .max,
    log: DamageLog? = nil
  ) throws -> [UInt8]? {
    guard let method = CompressionMethod(magic: Array(bytes.prefix(16))) else { return nil }
    let source = try FramedSource(
      MemorySource(bytes, readSize: readSize), try method.decoder(), name: "memory", log: log)
    let buffer = try Buffer(capacity: pieceSize)
    var data: [UInt8] = []
    while data.count < limit {
      let count = try source.read(into: buffer, 0..<min(pieceSize, limit - data.count))
      if count == 0 { break }
      buffer.withBytes(0..<count) { bytes in
        for index in bytes.indices { data.append(bytes[index]) }
      }
    }
    return data
  }
}
