// SPDX-License-Identifier: Apache-2.0

import System

/// Finds out, when it is needed, whether an archive can be read at any offset.
final class AccessFinder {
  private let bytes: (any RandomAccess)?
  private let compression: CompressionMethod?
  private let isPadded: Bool
  private var found: (any RandomAccess)??

  /// - Parameters:
  ///   - bytes: the archive as it is stored; nil if that is a stream.
  ///   - compression: nil if it is not compressed.
  ///   - isPadded: whether up to 511 zeros may follow the data.
  init(_ bytes: (any RandomAccess)?, _ compression: CompressionMethod?, isPadded: Bool) {
    self.bytes = bytes
    self.compression = compression
    self.isPadded = isPadded
  }

  func find() throws -> (any RandomAccess)? {
    if let found { return found }
    let access = try bytes.flatMap { try find(in: $0) }
    found = .some(access)
    return access
  }

  private func find(in bytes: any RandomAccess) throws -> (any RandomAccess)? {
    switch compression {
    case nil: return bytes
    case .zstd, .skippable:
      let stored = isPadded ? try BytesBeforePadding(bytes) : bytes
      return try ZstdChunks.find(in: stored).map { ChunkedAccess($0) }
    case .lzop: return try LzopChunks.find(in: bytes).map { ChunkedAccess($0) }
    case .gzip, .xz, .bzip2, .lz4: return nil
    }
  }
}
