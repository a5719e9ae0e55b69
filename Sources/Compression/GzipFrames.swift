// SPDX-License-Identifier: Apache-2.0

import CZlib
import System

/// Members of gzip (RFC 1952), with their checksums and lengths checked.
@safe final class GzipFrames: FrameDecoder {
  let format = "gzip"
  let magics: [[UInt8]] = [[0x1f, 0x8b, 0x08]]
  let isOpen = false

  // zlib keeps a pointer to the stream, so the stream must not move.
  private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
  /// The length of the member, which follows the checksum even if that is wrong.
  private var trailer: UInt64 = 0

  init() throws {
    unsafe stream.initialize(to: z_stream())
    // 15: the largest window; 16: only gzip.
    let code = unsafe inflateInit2_(
      stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard code == Z_OK else { throw Failure(.general, "zlib: out of memory") }
  }

  deinit {
    unsafe inflateEnd(stream)
    unsafe stream.deallocate()
  }

  func begin(_ bytes: Span<UInt8>, isSearching: Bool) -> FrameStart {
    if trailer > 0 {
      defer { trailer = 0 }
      return .passed(trailer)
    }
    guard bytes.count >= 4 else { return .needs(4) }
    // Three bits of the flags are reserved and zero.
    guard bytes[0] == 0x1f, bytes[1] == 0x8b, bytes[2] == 8, bytes[3] & 0xe0 == 0 else {
      return .nothing
    }
    unsafe inflateReset(stream)
    return .frame(header: 0)
  }

  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) -> FrameStep {
    let code = unsafe input.withPointer(range) { source in
      unsafe output.withPointer(target) { target in
        unsafe stream.pointee.next_in = unsafe source.bindMemory(to: UInt8.self).baseAddress
        unsafe stream.pointee.avail_in = UInt32(source.count)
        unsafe stream.pointee.next_out = unsafe target.bindMemory(to: UInt8.self).baseAddress
        unsafe stream.pointee.avail_out = UInt32(clamping: target.count)
        return unsafe inflate(stream, Z_NO_FLUSH)
      }
    }
    var step = FrameStep()
    step.consumed = range.count - (unsafe Int(stream.pointee.avail_in))
    step.produced =
      Int(UInt32(clamping: target.count)) - (unsafe Int(stream.pointee.avail_out))
    switch code {
    case Z_OK, Z_BUF_ERROR: break
    case Z_STREAM_END: step.end = .sound
    default:
      let reason = unsafe stream.pointee.msg.map { unsafe String(cString: $0) } ?? "error \(code)"
      // Only these messages of zlib show that all data was delivered.
      switch reason {
      case "incorrect data check":
        trailer = 4
        step.end = .damaged("the checksum of a member is wrong")
      case "incorrect length check": step.end = .damaged("the length of a member is wrong")
      default: step.end = .broken(reason)
      }
    }
    return step
  }
}
