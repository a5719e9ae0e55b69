// SPDX-License-Identifier: Apache-2.0

package import System

/// Decompression in memory, for tests and fuzzers, with the same decoders as the tools.
package enum Decompressor {
  /// Bytes in memory.
  package final class MemorySource: ByteSource, @unchecked Sendable {
    private let bytes: [UInt8]
    private let readSize: Int
    private var position = 0

    /// - Parameter readSize: the maximum size of a read.
    package init(_ bytes: [UInt8], readSize: Int) {
      self.bytes = bytes
      self.readSize = readSize
    }

    package func read(into buffer: Buffer, _ range: Range<Int>) -> Int {
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
  ///   - threads: the maximum number of threads.
  ///   - log: records faults, and reading continues after them; nil to throw the first fault.
  /// - Returns: the data; nil if `bytes` are not compressed.
  package static func decompress(
    _ bytes: [UInt8], limit: Int, pieceSize: Int = 1 << 16, readSize: Int = .max,
    threads: Int = 1, log: DamageLog? = nil
  ) throws -> [UInt8]? {
    var data: [UInt8] = []
    let source = MemorySource(bytes, readSize: readSize)
    let isCompressed = try decompress(
      source, magic: Array(bytes.prefix(16)), pieceSize: pieceSize, threads: threads, log: log
    ) { piece in
      for index in piece.indices where data.count < limit { data.append(piece[index]) }
      return data.count < limit
    }
    return isCompressed ? data : nil
  }

  /// Decompresses a source, in pieces.
  ///
  /// - Parameters:
  ///   - magic: the first bytes of the source, which determine the method.
  ///   - pieceSize: the maximum size of a piece.
  ///   - receive: receives a piece, and returns whether to continue.
  /// - Returns: false if the bytes are not compressed.
  package static func decompress(
    _ source: any ByteSource, magic: [UInt8], pieceSize: Int = 1 << 16, threads: Int = 1,
    log: DamageLog? = nil, receive: (Span<UInt8>) -> Bool
  ) throws -> Bool {
    guard let method = CompressionMethod(magic: magic) else { return false }
    let content = try method.source(source, name: "memory", log: log, threads: threads)
    let buffer = try Buffer(capacity: pieceSize)
    var isWanted = true
    while isWanted {
      let count = try content.read(into: buffer, 0..<pieceSize)
      if count == 0 { break }
      isWanted = buffer.withBytes(0..<count) { receive($0) }
    }
    return true
  }
}
