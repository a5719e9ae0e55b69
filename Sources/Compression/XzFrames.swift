// SPDX-License-Identifier: Apache-2.0

import CLzma
import Glibc
import System

/// Blocks of xz streams. They are decoded one by one: each states the size of its dictionary before
/// that is allocated, and a damaged one does not affect the others.
@safe final class XzFrames: FrameDecoder {
  let format = "xz"
  let magics: [[UInt8]] = [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]]
  /// Whether a stream has begun whose end was not read yet.
  private(set) var isOpen = false

  // liblzma keeps pointers to these, so they must not move.
  private let stream = UnsafeMutablePointer<lzma_stream>.allocate(capacity: 1)
  private let block = UnsafeMutablePointer<lzma_block>.allocate(capacity: 1)
  private let filters = UnsafeMutablePointer<lzma_filter>.allocate(
    capacity: Int(LZMA_FILTERS_MAX) + 1)
  private var streamFlags = lzma_stream_flags()
  /// Compares the index at the end of a stream with the blocks before it.
  private var indexHash: OpaquePointer?
  private var part = Part.block
  private var hasStream = false
  /// The sizes that the block header states, if any: of the data, and of the entire block.
  private var declaredSize: UInt64?
  private var declaredTotal: UInt64?

  private enum Part {
    case block, index, footer
    /// The rest of a damaged block whose header states its sizes.
    case skipping(input: UInt64, output: UInt64, filler: UInt64)
  }

  init() {
    unsafe stream.initialize(to: lzma_stream())
    unsafe block.initialize(to: lzma_block())
  }

  deinit {
    unsafe lzma_end(stream)
    unsafe lzma_index_hash_end(indexHash, nil)
    unsafe stream.deallocate()
    unsafe block.deallocate()
    unsafe filters.deallocate()
  }

  func begin(_ bytes: Span<UInt8>, isSearching: Bool) throws(FrameFault) -> FrameStart {
    if isOpen, !isSearching { return try beginPart(bytes) }
    if hasStream, !isSearching, bytes[0] == 0 {
      // Between streams, and after the last one, there may be zeros, four at a time.
      guard bytes.count >= 4 else { return .needs(4) }
      return bytes.littleEndian(0..<4) == 0 ? .passed(4) : .nothing
    }
    guard bytes.count >= 12 else { return .needs(12) }
    let code = unsafe bytes.withUnsafeBufferPointer {
      unsafe lzma_stream_header_decode(&streamFlags, $0.baseAddress)
    }
    if code == LZMA_FORMAT_ERROR { return .nothing }
    guard code == LZMA_OK else { throw FrameFault(Self.reason(code)) }
    unsafe indexHash = lzma_index_hash_init(indexHash, nil)
    guard unsafe indexHash != nil else { throw FrameFault("out of memory") }
    isOpen = true
    hasStream = true
    return .passed(12)
  }

  private func beginPart(_ bytes: Span<UInt8>) throws(FrameFault) -> FrameStart {
    guard bytes[0] != 0 else {
      part = .index
      return .frame(header: 0)
    }
    let header = (Int(bytes[0]) + 1) * 4
    guard bytes.count >= header else { return .needs(header) }
    do throws(FrameFault) {
      unsafe block.pointee = lzma_block()
      unsafe block.pointee.version = 1
      unsafe block.pointee.header_size = UInt32(header)
      unsafe block.pointee.check = streamFlags.check
      unsafe block.pointee.filters = filters
      let code = unsafe bytes.withUnsafeBufferPointer {
        unsafe lzma_block_header_decode(block, nil, $0.baseAddress)
      }
      guard code == LZMA_OK else { throw FrameFault("a block header: \(Self.reason(code))") }
      defer { freeFilters() }
      try checkDictionary()
      unsafe lzma_end(stream)
      unsafe stream.pointee = lzma_stream()
      let opened = unsafe lzma_block_decoder(stream, block)
      guard opened == LZMA_OK else { throw FrameFault(Self.reason(opened)) }
    } catch {
      // Without its header, the end of the block cannot be found, and neither can the next one.
      isOpen = false
      throw error
    }
    let unknown = UInt64.max
    let (size, total) = unsafe (
      block.pointee.uncompressed_size, lzma_block_total_size(block)
    )
    declaredSize = size == unknown ? nil : size
    declaredTotal = total == unknown || total == 0 ? nil : total - UInt64(header)
    part = .block
    return .frame(header: header)
  }

  private func checkDictionary() throws(FrameFault) {
    var index = 0
    while unsafe filters[index].id != UInt64.max {
      let filter = unsafe filters[index]
      if unsafe filter.id == UInt64(0x21), let options = unsafe filter.options {
        let size = unsafe options.load(as: lzma_options_lzma.self).dict_size
        try DecompressionLimit.check(UInt64(size), for: "dictionary")
      }
      index += 1
    }
  }

  private func freeFilters() {
    var index = 0
    while unsafe filters[index].id != UInt64.max {
      unsafe free(filters[index].options)
      index += 1
    }
  }

  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) -> FrameStep {
    switch part {
    case .block: decodeBlock(input, range, into: output, target)
    case .index: decodeIndex(input, range)
    case .footer: decodeFooter(input, range)
    case .skipping(let rest, let missing, let filler):
      skip(range, output, target, rest, missing, filler)
    }
  }

  private func decodeBlock(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) -> FrameStep {
    let code = unsafe input.withPointer(range) { source in
      unsafe output.withPointer(target) { target in
        unsafe stream.pointee.next_in = unsafe UnsafePointer(
          source.bindMemory(to: UInt8.self).baseAddress)
        unsafe stream.pointee.avail_in = source.count
        unsafe stream.pointee.next_out = unsafe target.bindMemory(to: UInt8.self).baseAddress
        unsafe stream.pointee.avail_out = target.count
        return unsafe lzma_code(stream, LZMA_RUN)
      }
    }
    var step = unsafe FrameStep(
      consumed: range.count - stream.pointee.avail_in,
      produced: target.count - stream.pointee.avail_out)
    switch code {
    case LZMA_OK, LZMA_BUF_ERROR: break
    case LZMA_STREAM_END:
      step.end = countBlock() ? .sound : .broken("the index does not match the blocks")
    default:
      let reason = Self.reason(code)
      let (input, output) = unsafe (stream.pointee.total_in, stream.pointee.total_out)
      let compressed = unsafe block.pointee.compressed_size
      let check = UInt64(unsafe lzma_check_size(block.pointee.check))
      if compressed <= UInt64(Int64.max), check > 0,
        input == (compressed + 3) & ~3 + check, countBlock()
      {
        // The entire block was read: only the checksum is wrong.
        step.end = .damaged("the checksum of a block is wrong")
      } else if let declaredTotal, let declaredSize, input <= declaredTotal, output <= declaredSize
      {
        part = .skipping(
          input: declaredTotal - input, output: declaredSize - output,
          filler: declaredSize - output)
        if step.consumed == 0, step.produced == 0 { step.wanted = 1 }
      } else {
        isOpen = false
        step.end = .broken(reason)
      }
    }
    return step
  }

  /// Adds the block to the expected content of the index.
  private func countBlock() -> Bool {
    unsafe lzma_index_hash_append(
      indexHash, lzma_block_unpadded_size(block), block.pointee.uncompressed_size) == LZMA_OK
  }

  private func skip(
    _ range: Range<Int>, _ output: Buffer, _ target: Range<Int>, _ rest: UInt64, _ missing: UInt64,
    _ filler: UInt64
  ) -> FrameStep {
    var step = FrameStep()
    step.consumed = Int(min(rest, UInt64(range.count)))
    // Only existing data is replaced: if the input ends before, there is no filler.
    let isThere = rest == UInt64(step.consumed)
    step.produced = isThere ? Int(min(missing, UInt64(target.count))) : 0
    output.fillWithZeros(target.lowerBound..<target.lowerBound + step.produced)
    let (input, left) = (rest - UInt64(step.consumed), missing - UInt64(step.produced))
    part = .skipping(input: input, output: left, filler: filler)
    if input == 0, left == 0 {
      step.end =
        countBlock()
        ? .damaged("a block is damaged", filler: filler) : .broken("a block is damaged")
    }
    return step
  }

  private func decodeIndex(_ input: Buffer, _ range: Range<Int>) -> FrameStep {
    // Without input, liblzma reports an error.
    guard !range.isEmpty else { return FrameStep(wanted: 1) }
    var position = 0
    let code = unsafe input.withPointer(range) { bytes in
      unsafe lzma_index_hash_decode(
        indexHash, bytes.bindMemory(to: UInt8.self).baseAddress, &position, bytes.count)
    }
    switch code {
    case LZMA_OK: return FrameStep(consumed: position)
    case LZMA_STREAM_END:
      part = .footer
      return FrameStep(consumed: position)
    default:
      isOpen = false
      return FrameStep(end: .broken("the index: \(Self.reason(code))"))
    }
  }

  private func decodeFooter(_ input: Buffer, _ range: Range<Int>) -> FrameStep {
    guard range.count >= 12 else { return FrameStep(wanted: 12) }
    isOpen = false
    var flags = lzma_stream_flags()
    let code = unsafe input.withPointer(range) { bytes in
      unsafe lzma_stream_footer_decode(&flags, bytes.bindMemory(to: UInt8.self).baseAddress)
    }
    let isSame = unsafe lzma_stream_flags_compare(&streamFlags, &flags) == LZMA_OK
    let indexSize = unsafe lzma_index_hash_size(indexHash)
    let isRight = code == LZMA_OK && isSame && flags.backward_size == indexSize
    return isRight
      ? FrameStep(consumed: 12, end: .sound)
      : FrameStep(end: .broken("the end of the stream is damaged"))
  }

  private static func reason(_ code: lzma_ret) -> String {
    switch code {
    case LZMA_MEM_ERROR: "out of memory"
    case LZMA_OPTIONS_ERROR: "unsupported option"
    default: "the data is damaged"
    }
  }
}
