// SPDX-License-Identifier: Apache-2.0

public import FilterIO
public import VMA
internal import Zstd

/// The archive operand: a file or standard input, decompressed if need be.
public struct Input {
  /// For messages.
  public let name: String
  /// The uncompressed archive, front to back.
  public let source: any ByteSource
  /// The archive itself where it is an uncompressed regular file or block device: it can be read
  /// at any place.
  public let file: Descriptor?

  /// Of the file as it is, compressed or not.
  public let status: FileStatus

  private enum Compression {
    case zstd, gzip, lzop
    case filter(FilterSource.Format)
  }

  /// Opens the archive and finds out by its first bytes how it is compressed.
  ///
  /// - Parameter path: `-` for standard input; nil for the same, where that is no terminal.
  public static func open(_ path: String?) throws -> Input {
    let descriptor: Descriptor
    if let path, path != "-" {
      descriptor = try Descriptor.input(at: path)
    } else {
      descriptor = .standardInput
      if descriptor.isTerminal {
        throw Failure(.usage, "no archive given, and standard input is a terminal")
      }
    }
    return try Input(descriptor)
  }

  /// The header of the archive at a path, for completions.
  public static func header(of path: String) throws -> ArchiveHeader {
    let input = try open(path)
    return try ArchiveReader(input.source, name: input.name).header
  }

  private init(_ descriptor: Descriptor) throws {
    name = descriptor.name
    status = try descriptor.status()
    let kind = status.kind
    // A file that others have read from before us (`{ head -c 99; vma-cat -; }`) is a stream.
    let isSeekable = (kind == .regular || kind == .blockDevice) && descriptor.position == 0
    let probe = try Buffer(capacity: 16)
    let count: Int
    let raw: DescriptorSource
    if isSeekable {
      count = try descriptor.read(into: probe, 0..<16, at: 0)
      raw = DescriptorSource(descriptor)
      Progress.current.expect(try descriptor.size())
    } else {
      let start = DescriptorSource(descriptor)
      count = try start.readFully(into: probe, 0..<16)
      raw = DescriptorSource(
        descriptor,
        prefix: probe.withBytes(0..<count) { bytes in
          bytes.indices.map { bytes[$0] }
        })
    }
    let magic = probe.withBytes(0..<count) { bytes in bytes.indices.map { bytes[$0] } }
    switch Self.compression(magic) {
    case nil:
      source = raw
      file = isSeekable ? descriptor : nil
      return
    case .zstd: source = try ZstdSource(raw, name: name)
    case .gzip: source = try GzipSource(raw, name: name)
    case .lzop: source = try LzopSource(raw, name: name)
    case .filter(let format): source = try FilterSource(raw, format: format, name: name)
    }
    file = nil
  }

  private static func compression(_ magic: [UInt8]) -> Compression? {
    let known: [([UInt8], Compression)] = [
      ([0x28, 0xb5, 0x2f, 0xfd], .zstd),
      ([0x1f, 0x8b], .gzip),
      ([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], .filter(.xz)),
      ([0x42, 0x5a, 0x68], .filter(.bzip2)),
      ([0x04, 0x22, 0x4d, 0x18], .filter(.lz4)),
      ([0x02, 0x21, 0x4c, 0x18], .filter(.lz4)),  // as `lz4 -l` writes it
      ([0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a], .lzop),
    ]
    if let found = known.first(where: { magic.starts(with: $0.0) }) { return found.1 }
    // A zstd file may start with a skippable frame, as pzstd writes it.
    if magic.count >= 4, magic[0] & 0xf0 == 0x50, magic[1...3] == [0x2a, 0x4d, 0x18] {
      return .zstd
    }
    return nil
  }
}
