// SPDX-License-Identifier: Apache-2.0

/// The supported compression methods, recognized by the first bytes of a file.
enum CompressionMethod {
  case zstd, gzip, xz, bzip2, lz4, lzop
  /// A skippable frame, which zstd and lz4 have in common.
  case skippable

  /// - Parameter magic: the first bytes of a file, at least 9 if it has that many.
  init?(magic: [UInt8]) {
    let known: [([UInt8], CompressionMethod)] = [
      ([0x28, 0xb5, 0x2f, 0xfd], .zstd),
      ([0x1f, 0x8b], .gzip),
      ([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], .xz),
      ([0x42, 0x5a, 0x68], .bzip2),
      ([0x04, 0x22, 0x4d, 0x18], .lz4),
      ([0x02, 0x21, 0x4c, 0x18], .lz4),  // as `lz4 -l` writes it
      ([0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a], .lzop),
    ]
    if let found = known.first(where: { magic.starts(with: $0.0) }) {
      self = found.1
    } else if magic.count >= 4, magic[0] & 0xf0 == 0x50, magic[1...3] == [0x2a, 0x4d, 0x18] {
      // As pzstd writes it.
      self = .skippable
    } else {
      return nil
    }
  }

  /// The content of compressed data.
  ///
  /// - Parameters:
  ///   - name: of the data, for messages.
  ///   - log: records faults; nil to throw the first one.
  ///   - threads: the maximum number of threads.
  ///   - allowsPadding: whether up to 511 zeros may follow the data.
  func source(
    _ data: any ByteSource, name: String, log: DamageLog?, threads: Int,
    allowsPadding: Bool = false
  ) throws -> any ByteSource {
    let mayBeZstd = self == .zstd || self == .skippable
    return mayBeZstd && log == nil && threads > 1
      ? try ParallelFrames(
        data, try decoder(), name: name, threads: threads, allowsPadding: allowsPadding)
      : try FramedSource(
        data, try decoder(), name: name, log: log, allowsPadding: allowsPadding)
  }

  /// - Parameter observer: is told of each block, if this is zstd.
  func decoder(observer: (any BlockObserver)? = nil) throws -> any FrameDecoder {
    switch self {
    case .zstd: try ZstdFrames(observer: observer)
    case .skippable: try SkippableFrames(observer: observer)
    case .gzip: try GzipFrames()
    case .xz: XzFrames()
    case .bzip2: Bzip2Frames()
    case .lz4: try LZ4Frames()
    case .lzop: LzopFrames()
    }
  }
}
