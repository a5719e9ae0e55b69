// SPDX-License-Identifier: Apache-2.0

import Files
import System

/// The archive operand: a file or standard input, decompressed if necessary.
package struct Input {
  /// For messages.
  package let name: String
  /// The uncompressed archive, read sequentially.
  package let source: any ByteSource
  /// The same data at any offset; nil if it can only be read sequentially.
  package let access: (any RandomAccess)?

  /// Faults of compressed data that is read past damage; nil for uncompressed data.
  package let log: DamageLog?

  /// Opens the archive and detects its compression from its first bytes.
  ///
  /// - Parameters:
  ///   - path: `-` for standard input; nil for the same, unless that is a terminal.
  ///   - log: records faults of compressed data, and reading continues; nil to throw them.
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
    // A file that another process has read from before (`{ head -c 99; vma-cat -; }`) is a stream.
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
      access = isSeekable ? try FileBytes(descriptor) : nil
      self.log = nil
      return
    }
    source = try FramedSource(raw, try compression.decoder(), name: name, log: log)
    access = nil
    self.log = log
  }
}
