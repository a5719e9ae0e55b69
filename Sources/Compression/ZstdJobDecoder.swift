// SPDX-License-Identifier: Apache-2.0

import CZstd
import System

/// Decodes complete frames of zstd at once, on one thread.
@safe final class ZstdJobDecoder: @unchecked Sendable {
  private let context: OpaquePointer

  init() throws(Failure) {
    guard let context = unsafe ZSTD_createDCtx() else {
      throw Failure(.general, "zstd: out of memory")
    }
    unsafe self.context = unsafe context
  }

  deinit {
    unsafe ZSTD_freeDCtx(context)
  }

  /// Decodes all frames of a job, and verifies their checksums.
  func decode(_ job: DecodingJob) -> DecodingJob.Result {
    let code = unsafe job.input.withPointer(0..<job.inputSize) { source in
      unsafe job.output.withPointer(0..<job.output.capacity) { target in
        unsafe ZSTD_decompressDCtx(
          context, target.baseAddress, target.count, source.baseAddress, source.count)
      }
    }
    return ZSTD_isError(code) == 0 ? .content(code) : .damaged
  }
}
