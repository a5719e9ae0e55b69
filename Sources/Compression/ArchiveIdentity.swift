// SPDX-License-Identifier: Apache-2.0

import System

/// What an index file knows of the file that it is about: a file that was replaced, or has grown, is
/// another one.
package struct ArchiveIdentity: Sendable, Equatable {
  /// Bytes of the file, as stored.
  package var size: UInt64
  /// XXH3-128 of the first and of the last 64 KiB, or of all if there are less.
  package var startDigest: UInt128
  package var endDigest: UInt128

  private static let partSize = 1 << 16

  package init(size: UInt64, startDigest: UInt128, endDigest: UInt128) {
    self.size = size
    self.startDigest = startDigest
    self.endDigest = endDigest
  }

  package init(of file: any RandomAccess) throws {
    let buffer = try Buffer(capacity: Self.partSize)
    let part = min(file.size, UInt64(Self.partSize))
    let hash = try XXH3()
    func digest(at offset: UInt64) throws -> UInt128 {
      let count = try file.read(into: buffer, 0..<Int(part), at: offset)
      return hash.digest(of: [0..<count], in: buffer)
    }
    size = file.size
    startDigest = try digest(at: 0)
    endDigest = try digest(at: file.size - part)
  }

  /// Whether another file can be a damaged version of this one.
  package func resembles(_ other: ArchiveIdentity) -> Bool {
    size == other.size || startDigest == other.startDigest
  }

  /// Why another file is not this one; nil if it is.
  package func difference(from other: ArchiveIdentity) -> String? {
    if size != other.size { return "its size differs" }
    if startDigest != other.startDigest { return "its first bytes differ" }
    return endDigest == other.endDigest ? nil : "its last bytes differ"
  }
}
