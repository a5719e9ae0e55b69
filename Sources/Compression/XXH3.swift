// SPDX-License-Identifier: Apache-2.0

import CXXHash
package import System

/// XXH3 with 128 bits by libxxhash, which finds accidental changes at the speed of memory.
@safe package final class XXH3: @unchecked Sendable {
  private let state: OpaquePointer

  package init() throws(Failure) {
    guard let state = unsafe cxxhash_create() else {
      throw Failure(.general, "cannot allocate the state of a digest")
    }
    unsafe self.state = unsafe state
  }

  deinit { unsafe cxxhash_free(state) }

  package func reset() { unsafe cxxhash_reset(state) }

  package func update(_ buffer: Buffer, _ range: Range<Int>) {
    unsafe buffer.withPointer(range) { bytes in
      unsafe cxxhash_update(state, bytes.baseAddress, bytes.count)
    }
  }

  /// The digest of all bytes since the last reset; its first byte is the most significant one.
  package func value() -> UInt128 {
    let digest = unsafe cxxhash_digest(state)
    return UInt128(digest.high) << 64 | UInt128(digest.low)
  }

  /// The digest of some ranges of a buffer, as if they were adjacent.
  package func digest(of ranges: [Range<Int>], in buffer: Buffer) -> UInt128 {
    reset()
    for range in ranges { update(buffer, range) }
    return value()
  }
}
