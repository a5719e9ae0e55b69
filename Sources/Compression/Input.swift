// SPDX-License-Identifier: Apache-2.0

import Files
import NBD
package import System

/// The archive operand: a file, an NBD export or standard input, decompressed if necessary.
package struct Input {
  /// For messages.
  package let name: String
  /// The uncompressed archive, read sequentially.
  package let source: any ByteSource
  /// The size of the uncompressed archive in bytes, if it is known before it is read.
  package let size: UInt64?
  /// Faults of compressed data that is read past damage; nil for uncompressed data.
  package let log: DamageLog?
  /// The archive as it is stored; nil for an NBD export.
  package let descriptor: Descriptor?
  private let finder: AccessFinder

  /// The uncompressed archive at any offset; nil if it can only be read sequentially. The first use
  /// may read headers in all of a compressed file.
  ///
  /// - Throws: `Failure` 74 if reading fails.
  package var access: (any RandomAccess)? {
    get throws { try finder.access() }
  }

  /// The same as `access`; nil if the headers of all extents cannot be read without decoding the
  /// data, so that reading all of the archive sequentially is faster.
  package var accessToHeaders: (any RandomAccess)? {
    get throws { try finder.accessToHeaders() }
  }

  /// The same as `access`, with a cache and threads of its own.
  ///
  /// - Parameters:
  ///   - cacheSize: bytes of decoded data that are kept.
  ///   - threads: that decode ahead of sequential readers; 0 for none, which starts no thread in a
  ///     process that will fork.
  package func access(cacheSize: Int, threads: Int) throws -> (any RandomAccess)? {
    try finder.access(cacheSize: cacheSize, threads: threads)
  }

  /// Makes the archive seekable by an index that was created from the same bytes.
  ///
  /// - Parameter file: a complete index file.
  package func use(index file: Descriptor) throws {
    try finder.use(IndexFile(FileBytes(file)))
  }

  /// Uses the frames of zstd before the first damaged one, if there is no other random access.
  package func useFramesBeforeDamage() throws { try finder.useFramesBeforeDamage() }

  /// The archive as it is stored, if an index file of it would be of use; nil if it is seekable
  /// without one.
  ///
  /// - Throws: `Failure` 64 if an index is not possible, 74 if reading fails.
  package func indexable() throws -> (any RandomAccess)? { try finder.indexable() }

  /// How an archive is opened.
  private struct Options {
    var log: DamageLog?
    var threads: Int
    var index: IndexChoice?
    /// Of the archive; nil if it has none.
    var path: String?
  }

  /// Opens the archive and detects its compression from its first bytes.
  ///
  /// - Parameters:
  ///   - path: a path or the URI of an NBD export; `-` for standard input; nil for the same, unless
  ///     that is a terminal.
  ///   - log: records faults of compressed data, and reading continues; nil to throw them.
  ///   - threads: the maximum number of threads that decompress; with a log, there is only one.
  ///   - index: the index file to use; nil for none.
  package static func open(
    _ path: String?, log: DamageLog? = nil, threads: Int = 1, index: IndexChoice? = nil
  ) throws -> Input {
    var options = Options(log: log, threads: threads, index: index)
    if let path, NBDURI.matches(path) { return try Input(NBDBytes(path), options) }
    let descriptor: Descriptor
    if let path, path != "-" {
      options.path = path
      descriptor = try Descriptor.input(at: path)
    } else {
      descriptor = try .claimedStandardInput()
      if descriptor.isTerminal {
        throw Failure(.usage, "no archive given, and standard input is a terminal")
      }
    }
    return try Input(descriptor, options)
  }

  private init(_ descriptor: Descriptor, _ options: Options) throws {
    let kind = try descriptor.status().kind
    // A file that another process has read from before (`{ head -c 99; vma-cat -; }`) is a stream.
    let isSeekable = (kind == .regular || kind == .blockDevice) && descriptor.position == 0
    let probe = try Buffer(capacity: 16)
    if isSeekable {
      let bytes = try FileBytes(descriptor)
      let count = try bytes.read(into: probe, 0..<16, at: 0)
      Progress.current.expect(bytes.size)
      try self.init(
        DescriptorSource(descriptor), start: Self.bytes(probe, count), bytes, descriptor,
        name: descriptor.name, options)
    } else {
      let start = DescriptorSource(descriptor)
      let count = try start.readFully(into: probe, 0..<16)
      let bytes = Self.bytes(probe, count)
      try self.init(
        DescriptorSource(descriptor, prefix: bytes), start: bytes, nil, descriptor,
        name: descriptor.name, options)
    }
  }

  private init(_ export: NBDBytes, _ options: Options) throws {
    let probe = try Buffer(capacity: 16)
    let count = try export.read(into: probe, 0..<16, at: 0)
    Progress.current.expect(export.size)
    try self.init(
      AccessSource(export), start: Self.bytes(probe, count), export, nil, name: export.name,
      options, allowsPadding: true)
  }

  /// - Parameters:
  ///   - raw: the archive as it is stored.
  ///   - start: its first bytes.
  ///   - bytes: the same at any offset, if possible.
  ///   - allowsPadding: whether zeros may follow compressed data: qemu-nbd pads exports to a multiple
  ///     of 512 bytes. An uncompressed archive has such a size.
  private init(
    _ raw: any ByteSource, start: [UInt8], _ bytes: (any RandomAccess)?,
    _ descriptor: Descriptor?, name: String, _ options: Options, allowsPadding: Bool = false
  ) throws {
    self.name = name
    self.descriptor = descriptor
    let compression = CompressionMethod(magic: start)
    // An index of a damaged archive is only used below.
    finder = try AccessFinder(
      bytes, compression, threads: options.threads, isPadded: allowsPadding, path: options.path,
      index: options.log == nil ? options.index : nil)
    if let log = options.log, let bytes, compression == .zstd || compression == .skippable,
      let index = try options.index?.open(forDamaged: bytes, at: options.path)
    {
      source = try IndexedSalvage(bytes, index, log: log)
      size = nil
      self.log = log
    } else if let compression {
      source = try compression.source(
        raw, name: name, log: options.log, threads: options.threads, allowsPadding: allowsPadding)
      size = nil
      log = options.log
    } else {
      source = raw
      size = bytes?.size
      log = nil
    }
  }

  private static func bytes(_ buffer: Buffer, _ count: Int) -> [UInt8] {
    buffer.withBytes(0..<count) { bytes in bytes.indices.map { bytes[$0] } }
  }
}
