// SPDX-License-Identifier: Apache-2.0

import CBzip2
import System

/// Streams of bzip2; each block has a checksum, and so has the stream.
@safe final class Bzip2Frames: FrameDecoder {
  let format = "bzip2"
  let magics: [[UInt8]] = [Array("BZh".utf8)]
  let isOpen = false

  // libbz2 keeps a pointer to the stream, so the stream must not move.
  private let stream = UnsafeMutablePointer<bz_stream>.allocate(capacity: 1)
  private var isOpened = false
  /// The magic of a block, or of the end.
  private static let parts: [[UInt8]] = [
    [0x31, 0x41, 0x59, 0x26, 0x53, 0x59], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90],
  ]

  init() {
    unsafe stream.initialize(to: bz_stream())
  }

  deinit {
    close()
    unsafe stream.deallocate()
  }

  private func close() {
    if isOpened { unsafe BZ2_bzDecompressEnd(stream) }
    isOpened = false
  }

  func begin(_ bytes: Span<UInt8>, isSearching: Bool) throws(FrameFault) -> FrameStart {
    guard bytes.count >= 10 else { return .needs(10) }
    let part = (4..<10).map { bytes[$0] }
    guard (0..<3).allSatisfy({ bytes[$0] == magics[0][$0] }), (0x31...0x39).contains(bytes[3]),
      Self.parts.contains(part)
    else { return .nothing }
    close()
    guard unsafe BZ2_bzDecompressInit(stream, 0, 0) == BZ_OK else {
      throw FrameFault("out of memory")
    }
    isOpened = true
    return .frame(header: 0)
  }

  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) -> FrameStep {
    let code = unsafe input.withPointer(range) { source in
      unsafe output.withPointer(target) { target in
        unsafe stream.pointee.next_in = unsafe source.bindMemory(to: CChar.self).baseAddress
        unsafe stream.pointee.avail_in = UInt32(source.count)
        unsafe stream.pointee.next_out = unsafe target.bindMemory(to: CChar.self).baseAddress
        unsafe stream.pointee.avail_out = UInt32(clamping: target.count)
        return unsafe BZ2_bzDecompress(stream)
      }
    }
    var step = FrameStep()
    step.consumed = range.count - (unsafe Int(stream.pointee.avail_in))
    step.produced =
      Int(UInt32(clamping: target.count)) - (unsafe Int(stream.pointee.avail_out))
    switch code {
    case BZ_OK: break
    case BZ_STREAM_END: step.end = .sound
    case BZ_MEM_ERROR: step.end = .broken("out of memory")
    default: step.end = .broken("a block is damaged, or its checksum is wrong")
    }
    return step
  }
}
