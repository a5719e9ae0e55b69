// SPDX-License-Identifier: Apache-2.0

import CZstd
import System
import SystemPackage

/// Compresses frames on one thread.
@safe final class FrameEncoder: @unchecked Sendable {
  private let context: OpaquePointer
  private var scratch: Buffer?

  init() throws(Failure) {
    guard let context = unsafe ZSTD_createCCtx() else {
      throw Failure(.general, "zstd", .noMemory)
    }
    unsafe self.context = unsafe context
  }

  deinit {
    unsafe ZSTD_freeCCtx(context)
  }

  /// Compresses the input of a job into its output.
  ///
  /// - Returns: the size of the frame.
  func compress(_ job: FrameJob) throws(Failure) -> Int {
    guard let input = job.input else { throw Failure(.general, "zstd: a frame has no input") }
    let bound = ZSTD_compressBound(job.contentSize)
    let output: Buffer
    if let current = job.output, current.capacity >= bound {
      output = current
    } else {
      output = try Buffer(capacity: bound)
      job.output = output
    }
    let (source, range) = try contiguous(input.buffer, input.ranges, count: job.contentSize)
    unsafe ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters)
    try set(ZSTD_c_compressionLevel, job.level)
    try set(ZSTD_c_checksumFlag, 1)
    return try unsafe source.withPointer(range) { (source) throws(Failure) in
      try unsafe output.withPointer(0..<output.capacity) { (target) throws(Failure) in
        try check(
          unsafe ZSTD_compress2(
            context, target.baseAddress, target.count, source.baseAddress, source.count))
      }
    }
  }

  /// The input in one piece: the bytes of a frame that is compressed piece by piece depend on where the
  /// pieces are cut, which depends on the memory that was free.
  private func contiguous(
    _ buffer: Buffer, _ ranges: [Range<Int>], count: Int
  ) throws(Failure) -> (Buffer, Range<Int>) {
    if ranges.count == 1 { return (buffer, ranges[0]) }
    let gathered: Buffer
    if let current = scratch, current.capacity >= count {
      gathered = current
    } else {
      gathered = try Buffer(capacity: count)
      scratch = gathered
    }
    var used = 0
    for range in ranges {
      gathered.copy(from: buffer, range, to: used)
      used += range.count
    }
    return (gathered, 0..<count)
  }

  private func set(_ parameter: ZSTD_cParameter, _ value: Int) throws(Failure) {
    try check(unsafe ZSTD_CCtx_setParameter(context, parameter, Int32(value)))
  }

  @discardableResult
  private func check(_ code: Int) throws(Failure) -> Int {
    guard ZSTD_isError(code) == 0 else {
      throw Failure(.general, "zstd: \(unsafe String(cString: ZSTD_getErrorName(code)))")
    }
    return code
  }
}
