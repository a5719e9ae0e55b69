// SPDX-License-Identifier: Apache-2.0

import System

/// Finds out, when it is needed, whether an archive can be read at any offset.
final class AccessFinder {
  private let bytes: (any RandomAccess)?
  private let compression: CompressionMethod?
  private let threads: Int
  private let isPadded: Bool
  private var found: Found?
  private var usual: (any RandomAccess)?

  private enum Found {
    case plain(any RandomAccess)
    case chunks(any ChunkedData)
    case sequential
  }

  /// - Parameters:
  ///   - bytes: the archive as it is stored; nil if that is a stream.
  ///   - compression: nil if it is not compressed.
  ///   - threads: that decode ahead of sequential readers.
  ///   - isPadded: whether up to 511 zeros may follow the data.
  init(
    _ bytes: (any RandomAccess)?, _ compression: CompressionMethod?, threads: Int, isPadded: Bool
  ) {
    self.threads = threads
    self.bytes = bytes
    self.compression = compression
    self.isPadded = isPadded
  }

  /// The same object for each call.
  func access() throws -> (any RandomAccess)? {
    if usual == nil {
      usual =
        switch try find() {
        case .plain(let bytes): bytes
        case .chunks(let data): ChunkedAccess(data, threads: threads)
        case .sequential: nil
        }
    }
    return usual
  }

  func access(cacheSize: Int, threads: Int) throws -> (any RandomAccess)? {
    switch try find() {
    case .plain(let bytes): bytes
    case .chunks(let data): ChunkedAccess(data, cacheSize: cacheSize, threads: threads)
    case .sequential: nil
    }
  }

  private func find() throws -> Found {
    if let found { return found }
    let result = try bytes.map { try find(in: $0) } ?? .sequential
    found = result
    return result
  }

  private func find(in bytes: any RandomAccess) throws -> Found {
    let data: (any ChunkedData)?
    switch compression {
    case nil: return .plain(bytes)
    case .zstd, .skippable:
      data = try ZstdChunks.find(in: isPadded ? try BytesBeforePadding(bytes) : bytes)
    case .lzop: data = try LzopChunks.find(in: bytes)
    case .gzip, .xz, .bzip2, .lz4: data = nil
    }
    return data.map { .chunks($0) } ?? .sequential
  }
}
