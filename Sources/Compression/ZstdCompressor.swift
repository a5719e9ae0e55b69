// SPDX-License-Identifier: Apache-2.0

import CZstd
package import System
import SystemPackage

/// One zstd frame with a checksum, compressed by worker threads and written to a descriptor.
///
/// The frame's bytes depend on the data, the level and the calls of `flush`, not on the number of
/// threads: libzstd's result is the same for any number of workers, but not for none.
@safe package final class ZstdCompressor: @unchecked Sendable {
  private let context: OpaquePointer
  private let output: Descriptor
  private let buffer: Buffer
  /// Bytes of the frame that were written.
  package private(set) var byteCount: UInt64 = 0

  /// The levels that `--level` accepts.
  package static let levels = 1...Int(ZSTD_maxCLevel())

  /// - Parameters:
  ///   - level: a level in `levels`.
  ///   - threads: at least 1.
  package init(level: Int, threads: Int, output: Descriptor) throws {
    buffer = try Buffer(capacity: 1 << 20)
    guard let context = unsafe ZSTD_createCCtx() else {
      throw Failure(.general, "zstd", .noMemory)
    }
    unsafe self.context = unsafe context
    self.output = output
    try set(ZSTD_c_compressionLevel, level)
    try set(ZSTD_c_checksumFlag, 1)
    try set(ZSTD_c_nbWorkers, threads)
  }

  deinit {
    unsafe ZSTD_freeCCtx(context)
  }

  private func set(_ parameter: ZSTD_cParameter, _ value: Int) throws {
    try check(unsafe ZSTD_CCtx_setParameter(context, parameter, Int32(value)))
  }

  @discardableResult
  private func check(_ code: Int) throws -> Int {
    guard ZSTD_isError(code) == 0 else {
      throw Failure(.general, "zstd: \(unsafe String(cString: ZSTD_getErrorName(code)))")
    }
    return code
  }

  package func write(_ input: Buffer, _ range: Range<Int>) throws {
    try compress(input, range, ZSTD_e_continue)
  }

  /// Writes all data so far in a form that a reader can decode immediately.
  package func flush() throws {
    try compress(buffer, 0..<0, ZSTD_e_flush)
  }

  /// Ends the frame.
  package func finish() throws {
    try compress(buffer, 0..<0, ZSTD_e_end)
  }

  private func compress(
    _ input: Buffer, _ range: Range<Int>, _ directive: ZSTD_EndDirective
  ) throws {
    var consumed = 0
    while true {
      // What remains inside the compressor, as it reports; 0 when the directive is complete.
      let (rest, produced) = try unsafe input.withPointer(range) { source in
        try unsafe buffer.withPointer(0..<buffer.capacity) { target in
          var inBuffer = unsafe ZSTD_inBuffer(
            src: UnsafeRawPointer(source.baseAddress), size: source.count, pos: consumed)
          var outBuffer = unsafe ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
          let rest = try check(
            unsafe ZSTD_compressStream2(context, &outBuffer, &inBuffer, directive))
          consumed = unsafe inBuffer.pos
          return (rest, unsafe outBuffer.pos)
        }
      }
      try output.write(buffer, 0..<produced)
      byteCount += UInt64(produced)
      if directive == ZSTD_e_continue ? consumed == range.count : rest == 0 { return }
    }
  }
}
