// SPDX-License-Identifier: Apache-2.0

import CZstd
package import System

/// Data of zstd that consists of several frames, each of which states its size.
package final class ZstdChunks: ChunkedData, @unchecked Sendable {
  /// A decoder, and space for a compressed frame.
  private final class Decoder {
    let frames: ZstdOneShotDecoder
    var input: Buffer

    init() throws {
      input = try Buffer(capacity: 1 << 16)
      frames = try ZstdOneShotDecoder()
    }
  }

  private let access: any RandomAccess
  package let chunks: [Chunk]
  /// Whether a seek table describes them.
  let hasTable: Bool
  private let decoders = Pool<Decoder>()

  /// - Parameter chunks: from the same bytes, by `find`.
  init(_ access: any RandomAccess, chunks: [Chunk], hasTable: Bool) {
    self.hasTable = hasTable
    self.access = access
    self.chunks = chunks
  }

  package var name: String { access.name }

  /// Finds the frames from the seek table, or else by reading the headers of all frames and blocks.
  ///
  /// - Parameter access: the compressed data.
  /// - Returns: nil if the data can only be read sequentially: it is damaged, a frame does not state
  ///   its size, or a frame is too large to decode it for a few bytes.
  /// - Throws: `Failure` 74 if reading fails.
  package static func find(in access: any RandomAccess) throws -> ZstdChunks? {
    if let chunks = try ZstdFrameTable.read(from: access) {
      return ZstdChunks(access, chunks: chunks, hasTable: true)
    }
    return try ZstdFrameList.frames(of: access).map {
      ZstdChunks(access, chunks: $0, hasTable: false)
    }
  }

  /// The frames before the first damaged one; nil if there are none that can be used.
  static func findBeforeDamage(in access: any RandomAccess) throws -> ZstdChunks? {
    try ZstdFrameList.frames(of: access, untilDamage: true).map {
      ZstdChunks(access, chunks: $0, hasTable: false)
    }
  }

  /// Whether a frame can have these sizes, and is decoded at once.
  static func isUsable(stored: UInt64, content: UInt64) -> Bool {
    // A frame has at least a header and a block. A block has at least 4 bytes, and decodes to at
    // most 128 KiB. An encoder stores data that does not become smaller as it is.
    content <= DecompressionLimit.window && stored >= 9 && content >> 15 <= stored
      && stored <= content + content / 16 + (1 << 16)
  }

  package func decode(_ index: Int, into buffer: Buffer) throws {
    let chunk = chunks[index]
    let decoder = try decoders.take() ?? Decoder()
    defer { decoders.put(decoder) }
    let count = chunk.stored.count
    if decoder.input.capacity < count { decoder.input = try Buffer(capacity: count + count / 8) }
    let read = try access.read(into: decoder.input, 0..<count, at: chunk.stored.lowerBound)
    guard read == count else {
      throw Failure(.inputOutput, "\(name): was truncated while it was read")
    }
    if let fault = decoder.input.withBytes(0..<count, { fault(of: $0, chunk) }) {
      throw failure(fault, chunk)
    }
    let size: Int
    do throws(FrameFault) {
      size = try decoder.frames.decode(
        decoder.input, 0..<count, into: buffer, 0..<chunk.content.count)
    } catch {
      throw failure(error.description, chunk)
    }
    guard size == chunk.content.count else {
      throw failure("a frame has a different size than expected", chunk)
    }
  }

  /// What makes these bytes anything but one frame of the expected size.
  private func fault(of bytes: Span<UInt8>, _ chunk: Chunk) -> String? {
    guard case .header(let header) = ZstdFrameHeader.parse(bytes) else {
      return "a frame expected, other data found"
    }
    do throws(FrameFault) {
      try DecompressionLimit.check(header.window, for: "window")
    } catch {
      return error.description
    }
    if let size = header.contentSize, size != UInt64(chunk.content.count) {
      return "a frame has a different size than expected"
    }
    // libzstd would decode a second frame, too.
    let found = unsafe bytes.withUnsafeBytes { bytes in
      unsafe ZSTD_findFrameCompressedSize(bytes.baseAddress, bytes.count)
    }
    guard ZSTD_isError(found) == 0 else { return unsafe String(cString: ZSTD_getErrorName(found)) }
    return found == bytes.count ? nil : "a frame has a different length than expected"
  }

  private func failure(_ fault: String, _ chunk: Chunk) -> Failure {
    Failure(.badData, "\(name): zstd: frame at byte \(chunk.stored.lowerBound): \(fault)")
  }
}
