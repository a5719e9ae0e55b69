// SPDX-License-Identifier: Apache-2.0

import System

/// Finds out, when it is needed, whether an archive can be read at any offset.
final class AccessFinder {
  private let bytes: (any RandomAccess)?
  private let compression: CompressionMethod?
  private let threads: Int
  private let isPadded: Bool
  private let path: String?
  private let index: IndexChoice?
  private var found: Found?
  private var usual: (any RandomAccess)?

  private enum Found {
    case plain(any RandomAccess)
    /// With the index that describes the chunks, if one does.
    case chunks(any ChunkedData, IndexFile?)
    case sequential
  }

  /// - Parameters:
  ///   - bytes: the archive as it is stored; nil if that is a stream.
  ///   - compression: nil if it is not compressed.
  ///   - threads: that decode ahead of sequential readers.
  ///   - isPadded: whether up to 511 zeros may follow the data.
  ///   - path: of the archive; nil if it has none.
  ///   - index: the index file to use; nil for none.
  /// - Throws: `Failure` 65 if the index that the user named does not belong to the archive.
  init(
    _ bytes: (any RandomAccess)?, _ compression: CompressionMethod?, threads: Int, isPadded: Bool,
    path: String?, index: IndexChoice?
  ) throws {
    self.threads = threads
    self.bytes = bytes
    self.compression = compression
    self.isPadded = isPadded
    self.path = path
    self.index = index
    guard let index, index.isNamed else { return }
    guard let bytes else {
      throw Failure(.usage, "--index-file requires a seekable archive")
    }
    switch compression {
    // It is checked now: the user may not need it later.
    case .zstd, .skippable: found = try find(in: bytes)
    default: _ = try index.open(for: bytes, at: path)
    }
  }

  /// The stored archive, if an index file of it is possible and would be of use; nil if it is
  /// seekable without one.
  ///
  /// - Throws: `Failure` 64 if an index is not possible.
  func indexable() throws -> (any RandomAccess)? {
    guard let bytes else { throw Failure(.usage, "--index requires a seekable archive") }
    switch compression {
    case nil: return nil
    case .zstd, .skippable:
      let stored = try stored(bytes)
      return try ZstdChunks.find(in: stored) == nil ? stored : nil
    case .lzop:
      if try LzopChunks.find(in: bytes) != nil { return nil }
      throw Failure(.usage, "\(bytes.name): an index of lzop archives is not supported")
    case .gzip, .xz, .bzip2, .lz4:
      throw Failure(
        .usage,
        "\(bytes.name): --index requires a zstd archive (compress it again, or decompress it)")
    }
  }

  func use(_ index: IndexFile) throws {
    guard let bytes else { return }
    found = .chunks(ZstdIndexedFrames(try stored(bytes), index), index)
    usual = nil
  }

  /// Uses the frames before the damage, if the archive can otherwise only be read sequentially.
  func useFramesBeforeDamage() throws {
    guard case .sequential = try find(), let bytes,
      compression == .zstd || compression == .skippable,
      let frames = try ZstdChunks.findBeforeDamage(in: stored(bytes))
    else { return }
    found = .chunks(frames, nil)
    usual = nil
  }

  private func stored(_ bytes: any RandomAccess) throws -> any RandomAccess {
    isPadded ? try BytesBeforePadding(bytes) : bytes
  }

  /// The same object for each call.
  func access() throws -> (any RandomAccess)? {
    if usual == nil {
      usual =
        switch try find() {
        case .plain(let bytes): bytes
        case .chunks(let data, let index):
          Self.access(ChunkedAccess(data, threads: threads), index)
        case .sequential: nil
        }
    }
    return usual
  }

  /// The same as `access`; nil if the headers of all extents cannot be read without decoding the
  /// data.
  func accessToHeaders() throws -> (any RandomAccess)? {
    if case .chunks(let data, nil) = try find(), (data as? ZstdChunks)?.hasTable == false {
      return nil
    }
    return try access()
  }

  func access(cacheSize: Int, threads: Int) throws -> (any RandomAccess)? {
    switch try find() {
    case .plain(let bytes): bytes
    case .chunks(let data, let index):
      Self.access(ChunkedAccess(data, cacheSize: cacheSize, threads: threads), index)
    case .sequential: nil
    }
  }

  private static func access(
    _ content: ChunkedAccess, _ index: IndexFile?
  ) -> any RandomAccess {
    index.map { ExcerptReader($0, content) } ?? content
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
      let stored = try stored(bytes)
      if let file = try index?.open(for: stored, at: path) {
        return .chunks(ZstdIndexedFrames(stored, file), file)
      }
      data = try ZstdChunks.find(in: stored)
    case .lzop: data = try LzopChunks.find(in: bytes)
    case .gzip, .xz, .bzip2, .lz4: data = nil
    }
    return data.map { .chunks($0, nil) } ?? .sequential
  }
}
