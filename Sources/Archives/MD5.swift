// SPDX-License-Identifier: Apache-2.0

import CMD5
import VMA

/// MD5 by libmd.
@safe package struct MD5: MessageDigest {
  private var context = MD5_CTX()

  package init() {
    unsafe MD5Init(&context)
  }

  package mutating func update(_ bytes: Span<UInt8>) {
    unsafe bytes.withUnsafeBufferPointer { bytes in
      unsafe MD5Update(&context, bytes.baseAddress, bytes.count)
    }
  }

  package consuming func finish() -> UInt128 {
    var digest: UInt128 = 0
    unsafe withUnsafeMutableBytes(of: &digest) { bytes in
      unsafe MD5Final(bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), &context)
    }
    return digest.bigEndian
  }
}
