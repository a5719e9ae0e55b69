// SPDX-License-Identifier: Apache-2.0

import CZstd
import System

/// Frames of zstd (RFC 8878), a block at a time, so that all blocks before a damaged one are
/// delivered.
@safe final class ZstdFrames: FrameDecoder {
  let format = "zstd"
  let magics: [[UInt8]] = [ZstdFrameHeader.magic]
  let isOpen = false

  private let context: OpaquePointer
  private var hasChecksum = false
  private var part = Part.blockHeader
  /// Bytes of this part that libzstd has not consumed yet.
  private var left = 0
  private var isLastBlock = false
  private let observer: (any BlockObserver)?
  /// The history before the first frame, which is then the rest of a frame.
  private var history: Buffer?

  private enum Part {
    case blockHeader, block, checksum
  }

  /// - Parameters:
  ///   - observer: is told of each block.
  ///   - history: the bytes before the first block, for a frame header that was made up for the rest
  ///     of a frame.
  init(observer: (any BlockObserver)? = nil, history: Buffer? = nil) throws {
    self.observer = observer
    self.history = history
    guard let context = unsafe ZSTD_createDCtx() else {
      throw Failure(.general, "zstd: out of memory")
    }
    unsafe self.context = unsafe context
  }

  deinit {
    unsafe ZSTD_freeDCtx(context)
  }

  /// The header is parsed here, too: libzstd does not report the size of a window that it refuses.
  func begin(_ bytes: Span<UInt8>, isSearching: Bool) throws(FrameFault) -> FrameStart {
    guard bytes.count >= 5 else { return .needs(5) }
    if let start = SkippableFrames.begin(bytes) {
      if case .passed(let count) = start { observer?.pass(count) }
      return start
    }
    let header: ZstdFrameHeader
    switch ZstdFrameHeader.parse(bytes) {
    case .header(let parsed): header = parsed
    case .needs(let count): return .needs(count)
    case .nothing: return .nothing
    }
    try DecompressionLimit.check(header.window, for: "window")
    hasChecksum = header.hasChecksum
    unsafe ZSTD_DCtx_reset(context, ZSTD_reset_session_only)
    if let history {
      let code = unsafe history.withPointer(0..<history.capacity) { bytes in
        unsafe ZSTD_DCtx_refPrefix(context, bytes.baseAddress, bytes.count)
      }
      guard ZSTD_isError(code) == 0 else { throw FrameFault(Self.reason(code)) }
    }
    let start = bytes.extracting(0..<header.size)
    let code = unsafe start.withUnsafeBytes { start in
      var input = unsafe ZSTD_inBuffer(src: start.baseAddress, size: start.count, pos: 0)
      var output = unsafe ZSTD_outBuffer(dst: nil, size: 0, pos: 0)
      return unsafe ZSTD_decompressStream(context, &output, &input)
    }
    guard ZSTD_isError(code) == 0 else { throw FrameFault(Self.reason(code)) }
    part = .blockHeader
    observer?.beginFrame(header: header.size, window: header.window)
    return .frame(header: header.size)
  }

  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) -> FrameStep {
    if part == .blockHeader {
      guard range.count >= ZstdBlockHeader.size else {
        return FrameStep(wanted: ZstdBlockHeader.size)
      }
      guard let block = input.withBytes(range, { ZstdBlockHeader($0) }) else {
        return FrameStep(end: .broken("a block header is damaged"))
      }
      guard range.count >= block.storedSize else { return FrameStep(wanted: block.storedSize) }
      isLastBlock = block.isLast
      left = block.storedSize
      part = .block
      observer?.beginBlock(input, range.lowerBound..<range.lowerBound + left, isLast: isLastBlock)
    } else if part == .checksum, left == 4, range.count < 4 {
      return FrameStep(wanted: 4)
    }
    var step = FrameStep()
    let code = unsafe input.withPointer(range.lowerBound..<range.lowerBound + left) { source in
      unsafe output.withPointer(target) { target in
        var inBuffer = unsafe ZSTD_inBuffer(
          src: UnsafeRawPointer(source.baseAddress), size: source.count, pos: 0)
        var outBuffer = unsafe ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
        let code = unsafe ZSTD_decompressStream(context, &outBuffer, &inBuffer)
        step.consumed = unsafe inBuffer.pos
        step.produced = unsafe outBuffer.pos
        return code
      }
    }
    guard ZSTD_isError(code) == 0 else {
      let isChecksum = part == .checksum
      step = FrameStep(consumed: isChecksum ? left : 0)
      step.end =
        isChecksum ? .damaged("the checksum of a frame is wrong") : .broken(Self.reason(code))
      return step
    }
    left -= step.consumed
    if part == .block, let observer {
      observer.deliver(output, target.lowerBound..<target.lowerBound + step.produced)
      if left == 0, step.produced < target.count { observer.endBlock() }
    }
    if left == 0, step.produced < target.count {
      // All data of this part was delivered.
      switch part {
      case .block where isLastBlock && hasChecksum:
        part = .checksum
        left = 4
        observer?.pass(4)
      case .block where !isLastBlock: part = .blockHeader
      default: step.end = .sound
      }
    }
    // The decoder only needs to be called again.
    if step.consumed == 0, step.produced == 0, step.end == nil { step.wanted = 1 }
    return step
  }

  private static func reason(_ code: Int) -> String {
    // Whether libzstd reports this one or the other depends on the frames that it decoded before.
    let isTooLarge = -code == Int(ZSTD_error_dstSize_tooSmall.rawValue)
    let code = isTooLarge ? -Int(ZSTD_error_corruption_detected.rawValue) : code
    return unsafe String(cString: ZSTD_getErrorName(code))
  }
}
