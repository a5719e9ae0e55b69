// SPDX-License-Identifier: Apache-2.0

import CLZ4
import System

/// Frames of lz4, a block at a time, so that all blocks before a damaged one are delivered. In the
/// legacy format, which `lz4 -l` writes, each block is a frame.
@safe final class LZ4Frames: FrameDecoder {
  let format = "lz4"
  let magics: [[UInt8]] = [[0x04, 0x22, 0x4d, 0x18], [0x02, 0x21, 0x4c, 0x18]]
  let isOpen = false

  private let context: OpaquePointer
  private var part = Part.blockHeader
  /// Bytes of this part that liblz4 has not consumed yet.
  private var left = 0
  private var hasBlockChecksum = false
  private var hasChecksum = false
  private var isLegacy = false
  /// A decoded block of the legacy format, and the part of it that was not delivered yet.
  private var block: Buffer?
  private var undelivered = 0..<0
  private static let legacyBlockSize = 8 << 20

  private enum Part {
    case blockHeader, block, endMark, checksum
  }

  init() throws {
    var context: OpaquePointer?
    let code = unsafe LZ4F_createDecompressionContext(&context, UInt32(LZ4F_VERSION))
    guard LZ4F_isError(code) == 0, let context = unsafe context else {
      throw Failure(.general, "lz4: out of memory")
    }
    unsafe self.context = unsafe context
  }

  deinit {
    unsafe LZ4F_freeDecompressionContext(context)
  }

  /// The maximum size of a block in the legacy format.
  private static let largestLegacyBlock = UInt64(legacyBlockSize + legacyBlockSize / 255 + 16)

  func begin(_ bytes: Span<UInt8>, isSearching: Bool) throws(FrameFault) -> FrameStart {
    guard bytes.count >= 4 else { return .needs(4) }
    let magic = bytes.littleEndian(0..<4)
    if magic == 0x184c_2102 {
      isLegacy = true
      return .passed(4)
    }
    if let start = SkippableFrames.begin(bytes) {
      isLegacy = false
      return start
    }
    guard magic == 0x184d_2204 else {
      // The legacy format has no end mark, so anything after it could be a block; `lz4 -l` writes
      // none without data.
      guard isLegacy, !isSearching, (1...Self.largestLegacyBlock).contains(magic) else {
        return .nothing
      }
      left = Int(magic)
      return .frame(header: 4)
    }
    isLegacy = false
    guard bytes.count >= 7 else { return .needs(7) }
    let flags = bytes[4]
    let header = 7 + (flags & 8 != 0 ? 8 : 0) + (flags & 1 != 0 ? 4 : 0)
    guard bytes.count >= header else { return .needs(header) }
    hasBlockChecksum = flags & 0x10 != 0
    hasChecksum = flags & 4 != 0
    unsafe LZ4F_resetDecompressionContext(context)
    let start = bytes.extracting(0..<header)
    let code = unsafe start.withUnsafeBytes { start in
      var (consumed, produced) = (start.count, 0)
      return unsafe LZ4F_decompress(context, nil, &produced, start.baseAddress, &consumed, nil)
    }
    guard LZ4F_isError(code) == 0 else { throw FrameFault("a frame header is damaged") }
    part = .blockHeader
    return .frame(header: header)
  }

  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) throws(Failure) -> FrameStep {
    if isLegacy { return try decodeLegacy(input, range, into: output, target) }
    if part == .blockHeader {
      guard range.count >= 4 else { return FrameStep(wanted: 4) }
      let field = input.withBytes(range) { $0.littleEndian(0..<4) }
      if field == 0 {
        part = .endMark
        left = 4
      } else {
        let size = Int(field & 0x7fff_ffff)
        guard size <= 4 << 20 else {
          return FrameStep(end: .broken("a block header is damaged"))
        }
        let whole = 4 + size + (hasBlockChecksum ? 4 : 0)
        guard range.count >= whole else { return FrameStep(wanted: whole) }
        part = .block
        left = whole
      }
    } else if part == .checksum, range.count < 4 {
      return FrameStep(wanted: 4)
    }
    var step = FrameStep()
    let code = unsafe input.withPointer(range.lowerBound..<range.lowerBound + left) { source in
      unsafe output.withPointer(target) { target in
        var (consumed, produced) = (source.count, target.count)
        let code = unsafe LZ4F_decompress(
          context, target.baseAddress, &produced, source.baseAddress, &consumed, nil)
        step.consumed = consumed
        step.produced = produced
        return code
      }
    }
    guard LZ4F_isError(code) == 0 else {
      let isChecksum = part == .checksum
      return FrameStep(
        consumed: isChecksum ? left : 0,
        end: isChecksum
          ? .damaged("the checksum of a frame is wrong") : .broken("a block is damaged"))
    }
    left -= step.consumed
    if left == 0, step.produced < target.count {
      switch part {
      case .blockHeader, .block: part = .blockHeader
      case .endMark where hasChecksum:
        part = .checksum
        left = 4
      case .endMark, .checksum: step.end = .sound
      }
    }
    if step.consumed == 0, step.produced == 0, step.end == nil { step.wanted = 1 }
    return step
  }

  private func decodeLegacy(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) throws(Failure) -> FrameStep {
    var step = FrameStep()
    if self.block == nil { self.block = try Buffer(capacity: Self.legacyBlockSize) }
    guard let block = self.block else { return step }
    if left > 0 {
      guard range.count >= left else { return FrameStep(wanted: left) }
      let count = unsafe input.withPointer(range.lowerBound..<range.lowerBound + left) { source in
        unsafe block.withPointer(0..<block.capacity) { block in
          unsafe LZ4_decompress_safe(
            source.bindMemory(to: CChar.self).baseAddress,
            block.bindMemory(to: CChar.self).baseAddress, Int32(source.count), Int32(block.count))
        }
      }
      guard count > 0 else { return FrameStep(end: .broken("a block is damaged")) }
      undelivered = 0..<Int(count)
      step.consumed = left
      left = 0
    }
    step.produced = min(undelivered.count, target.count)
    output.copy(
      from: block, undelivered.lowerBound..<undelivered.lowerBound + step.produced,
      to: target.lowerBound)
    undelivered = undelivered.lowerBound + step.produced..<undelivered.upperBound
    if undelivered.isEmpty { step.end = .sound }
    return step
  }
}
