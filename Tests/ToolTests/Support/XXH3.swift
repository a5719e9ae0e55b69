// SPDX-License-Identifier: Apache-2.0

import CXXHash

/// XXH3 with 128 bits, as libxxhash has it.
enum XXH3 {
  static func digest(of bytes: ArraySlice<UInt8>) -> [UInt8] {
    guard let state = cxxhash_create() else { return [] }
    defer { cxxhash_free(state) }
    bytes.withUnsafeBytes { cxxhash_update(state, $0.baseAddress, $0.count) }
    let digest = cxxhash_digest(state)
    return bigEndian(digest.high) + bigEndian(digest.low)
  }
}
