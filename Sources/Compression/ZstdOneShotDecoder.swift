// SPDX-License-Identifier: Apache-2.0

import CZstd
import System

/// Decodes complete frames of zstd at once, on one thread, and verifies their checksums.
@safe final class ZstdOneShotDecoder: @unchecked Sendable {
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

  /// Decodes all frames in a range.
  ///
  /// - Returns: the size of their content in bytes.
  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) throws(FrameFault) -> Int {
    let code = unsafe input.withPointer(range) { source in
      unsafe output.withPointer(target) { target in
        unsafe ZSTD_decompressDCtx(
          context, target.baseAddress, target.count, source.baseAddress, source.count)
      }
    }
    guard ZSTD_isError(code) == 0 else {
      throw FrameFault(unsafe String(cString: ZSTD_getErrorName(code)))
    }
    return code
  }
}
