// SPDX-License-Identifier: Apache-2.0

import Files
package import System

/// The archive operand: a file or standard input, decompressed if need be.
package struct Input {
  /// For messages.
  package let name: String
  /// The uncompressed archive, front to back.
  package let source: any ByteSource
  /// The archive itself where it is an uncompressed regular file or block device: it can be read
  /// at any place.
  package let file: Descriptor?

  /// What is wrong with compressed data that is read on behind damage; nil for plain data.
  package let log: DamageLog?

  /// Opens the archive and finds out by its first bytes how it is compressed.
  ///
  /// - Parameters:
  ///   - path: `-` for standard input; nil for the same, where that is not a terminal.
  ///   - log: of what is wrong with compressed data, which is read on then; nil where it is an error.
  package static func open(_ path: String?, log: DamageLog? = nil) throws -> Input {
    let descriptor: Descriptor
    if let path, path != "-" {
      descriptor = try Descriptor.input(at: path)
    } else {
      descriptor = try .claimedStandardInput()
      if descriptor.isTerminal {
        throw Failure(.usage, "no archive given, and standard input is a terminal")
      }
    }
    return try Input(descriptor, log: log)
  }

  private init(_ descriptor: Descriptor, log: DamageLog?) throws {
    name = descriptor.name
    let kind = try descriptor.status().kind
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
    guard let compression = CompressionMethod(magic: magic) else {
      source = raw
      file = isSeekable ? descriptor : nil
      self.log = nil
      return
    }
    source = try FramedSource(raw, try compression.decoder(), name: name, log: log)
    file = nil
    self.log = log
  }
}
