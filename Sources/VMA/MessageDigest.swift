// SPDX-License-Identifier: Apache-2.0

/// An MD5 from outside, so that the codec needs no library: the `MD5` module of this package has
/// one, and any other will do.
public protocol MessageDigest {
  init()
  mutating func update(_ bytes: Span<UInt8>)
  /// The 16 bytes of the digest, the first one most significant.
  consuming func finish() -> UInt128
}

extension MessageDigest {
  /// The digest of `bytes` with the 16 bytes at `field` taken as zeros, as both kinds of header
  /// want it.
  static func digest(of bytes: Span<UInt8>, zeroing field: Int) -> UInt128 {
    let zeros: [16 of UInt8] = .init(repeating: 0)
    var digest = Self()
    digest.update(bytes.extracting(0..<field))
    digest.update(zeros.span)
    digest.update(bytes.extracting((field + 16)...))
    return digest.finish()
  }
}
