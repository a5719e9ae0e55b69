// SPDX-License-Identifier: Apache-2.0

import CZstd
import System
import SystemPackage

/// Decodes the rest of a frame from a block on, with only some of the content before it, and compares
/// the result with the right content.
@safe final class ZstdTrial {
  private let context: OpaquePointer
  private let output: Buffer
  /// Where it starts.
  private(set) var point = ZstdPoint(stored: 0, content: 0)
  var history: Buffer
  private(set) var historySize = 0
  /// The part of the window that the history is.
  var divisor: UInt64 = 1
  /// The content that it has decoded without an error.
  private(set) var end: UInt64 = 0
  /// The part of it from compressed blocks: others are right from any start.
  private(set) var evidence: UInt64 = 0
  /// Whether the rest is right, too, and need not be decoded.
  var isEnough = false
  /// Whether all content up to now was right.
  private(set) var isAlive = false
  /// Of all content from the point on, even after an error.
  var digest: XXH3
  /// The digests of the chunks that end where this starts: from the last point on, and from the point
  /// that is being proven.
  var digestsBefore: (last: UInt128, proof: UInt128) = (0, 0)

  init() throws {
    output = try Buffer(capacity: ZstdBlockHeader.largestContent + 1)
    history = try Buffer(capacity: 0)
    digest = try XXH3()
    guard let context = unsafe ZSTD_createDCtx() else {
      throw Failure(.general, "zstd", .noMemory)
    }
    unsafe self.context = unsafe context
  }

  deinit { unsafe ZSTD_freeDCtx(context) }

  /// Starts at a point.
  ///
  /// - Parameters:
  ///   - point: with a window.
  ///   - recent: contains the history.
  ///   - range: of the history.
  func start(_ point: ZstdPoint, _ recent: Buffer, _ range: Range<Int>) throws {
    self.point = point
    end = point.content
    (evidence, isEnough) = (0, false)
    isAlive = true
    digest.reset()
    if history.capacity < range.count { history = try Buffer(capacity: range.count) }
    history.copy(from: recent, range, to: 0)
    historySize = range.count
    unsafe ZSTD_DCtx_reset(context, ZSTD_reset_session_only)
    let code = unsafe history.withPointer(0..<historySize) { bytes in
      unsafe ZSTD_DCtx_refPrefix(context, bytes.baseAddress, bytes.count)
    }
    let header = ZstdIndexedFrames.header(windowByte: point.windowByte ?? 0)
    let input = try Buffer(capacity: header.count)
    input.copy(header, to: 0)
    if ZSTD_isError(code) != 0 || decode(input, header.count) == nil { isAlive = false }
  }

  /// Decodes the next block.
  func test(_ block: ZstdBlock) {
    digest.update(block.content, 0..<block.contentCount)
    guard isAlive else { return }
    guard !isEnough else {
      end += UInt64(block.contentCount)
      return
    }
    guard decode(block.stored, block.storedCount) == block.contentCount,
      block.contentCount == 0
        || output.isEqual(0..<block.contentCount, to: block.content, at: 0)
    else {
      isAlive = false
      return
    }
    end += UInt64(block.contentCount)
    let type = block.stored.withBytes(0..<1) { $0[0] >> 1 & 3 }
    if type == 2 { evidence += UInt64(block.contentCount) }
  }

  /// Returns the bytes decoded; nil after an error.
  private func decode(_ input: Buffer, _ count: Int) -> Int? {
    unsafe input.withPointer(0..<count) { source in
      unsafe output.withPointer(0..<output.capacity) { target in
        var inBuffer = unsafe ZSTD_inBuffer(
          src: UnsafeRawPointer(source.baseAddress), size: source.count, pos: 0)
        var outBuffer = unsafe ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
        while true {
          let before = unsafe (inBuffer.pos, outBuffer.pos)
          let code = unsafe ZSTD_decompressStream(context, &outBuffer, &inBuffer)
          guard ZSTD_isError(code) == 0 else { return nil }
          let isDone = unsafe inBuffer.pos == count && outBuffer.pos < outBuffer.size
          if isDone { return unsafe outBuffer.pos }
          // A block has at most 128 KiB: this is another one.
          if unsafe before == (inBuffer.pos, outBuffer.pos) { return nil }
        }
      }
    }
  }
}
