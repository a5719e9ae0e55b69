// SPDX-License-Identifier: Apache-2.0

import CMD5
package import VMA

extension ArchiveHeader.UUID {
  /// The namespace of vma-tools, a random UUID. vma-pack(1) states it.
  private static let namespace: UInt128 = 0x5e1f_af14_60a3_4442_b390_16f1_812c_37b3

  /// The UUID of version 5 (RFC 9562): the same text always has the same.
  package init(derivedFrom text: String) {
    let bytes =
      (0..<16).map { UInt8(truncatingIfNeeded: Self.namespace >> (8 * (15 - $0))) }
      + Array(text.utf8)
    var context = SHA1_CTX()
    unsafe SHA1Init(&context)
    unsafe bytes.withUnsafeBufferPointer { bytes in
      unsafe SHA1Update(&context, bytes.baseAddress, bytes.count)
    }
    // Of the 20 bytes, the first 16 count.
    var digest = [UInt8](repeating: 0, count: 20)
    unsafe digest.withUnsafeMutableBufferPointer { digest in
      unsafe SHA1Final(digest.baseAddress, &context)
    }
    let value = digest.prefix(16).reduce(0) { $0 << 8 | UInt128($1) }
    self.init(value & ~(0xf << 76) & ~(0x3 << 62) | 0x5 << 76 | 0x2 << 62)
  }
}
