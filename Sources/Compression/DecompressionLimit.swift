// SPDX-License-Identifier: Apache-2.0

import System

/// The memory limit of decompressors, the same for all methods.
enum DecompressionLimit {
  /// The maximum window, dictionary or block, in bytes: what `zstd -d` accepts by default.
  static let window: UInt64 = 128 << 20

  /// - Throws: an error if a frame requires too much. Call it before memory is allocated.
  static func check(_ size: UInt64, for what: String) throws(FrameFault) {
    if size > window {
      throw FrameFault(
        "a \(what) of \(ByteCount(size)) exceeds the limit of \(ByteCount(window)) "
          + "(decompress it with the program that created it)")
    }
  }
}
