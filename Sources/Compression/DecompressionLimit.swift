// SPDX-License-Identifier: Apache-2.0

import System

/// How a decompressor is limited, in one place for all methods.
enum DecompressionLimit {
  /// The largest window, dictionary or block, in bytes: what `zstd -d` accepts without being asked.
  static let window: UInt64 = 128 << 20

  /// - Throws: what a frame asks for, where that is too much. Called before memory is allocated.
  static func check(_ size: UInt64, for what: String) throws(FrameFault) {
    if size > window {
      throw FrameFault(
        "a \(what) of \(ByteCount(size)) exceeds the limit of \(ByteCount(window)) "
          + "(decompress it with the program that created it)")
    }
  }
}
