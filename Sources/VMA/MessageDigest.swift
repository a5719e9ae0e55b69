// SPDX-License-Identifier: Apache-2.0

/// An implementation of MD5, which this library does not include.
///
/// Any implementation will do. With swift-crypto (or CryptoKit):
///
/// ```swift
/// struct MD5: MessageDigest {
///   private var hash = Insecure.MD5()
///   mutating func update(_ bytes: Span<UInt8>) {
///     bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
///   }
///   consuming func finish() -> UInt128 {
///     hash.finalize().reduce(0) { $0 << 8 | UInt128($1) }
///   }
/// }
/// ```
public protocol MessageDigest: SendableMetatype {
  init()
  mutating func update(_ bytes: Span<UInt8>)
  /// The 16 bytes of the digest, the first one most significant.
  consuming func finish() -> UInt128
}

extension MessageDigest {
  /// The digest of `bytes` with the 16 bytes at `field` taken as zeros, as both kinds of header
  /// define it.
  static func digest(of bytes: Span<UInt8>, zeroing field: Int) -> UInt128 {
    let zeros: [16 of UInt8] = .init(repeating: 0)
    var digest = Self()
    digest.update(bytes.extracting(0..<field))
    digest.update(zeros.span)
    digest.update(bytes.extracting((field + 16)...))
    return digest.finish()
  }
}
