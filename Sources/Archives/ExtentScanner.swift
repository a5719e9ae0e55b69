// SPDX-License-Identifier: Apache-2.0

import Compression
import System
import VMA

/// Splits a stream into extents. The header of an extent is read together with the blocks of the
/// previous one, so that each extent needs only one read.
final class ExtentScanner: @unchecked Sendable {
  private let source: any ByteSource
  private let name: String
  private var parser: ArchiveParser
  private let headerBytes: Buffer
  /// The number of bytes of the next header already read; nil before the first read.
  private var headerCount: Int?
  /// The size of a read of unneeded blocks: it stays in the processor cache.
  private static let discardSize = 1 << 19
  private let keepsData: Bool

  /// - Parameter parser: which has read the header of the archive.
  init(source: any ByteSource, name: String, parser: ArchiveParser, keepsData: Bool) throws {
    headerBytes = try Buffer(capacity: VMAFormat.extentHeaderSize)
    self.keepsData = keepsData
    self.source = source
    self.name = name
    self.parser = parser
  }

  /// - Returns: false at the end of the archive.
  func read(into extent: Extent) throws -> Bool {
    let headerCount =
      try headerCount ?? source.readFully(into: headerBytes, 0..<headerBytes.capacity)
    do {
      guard
        let header = try headerBytes.withBytes(
          0..<headerCount, { (bytes) throws(FormatError) in try parser.nextExtent(in: bytes) })
      else { return false }
      extent.header = header
      let size = header.dataSize
      let discarded = try keepsData ? 0 : discard(size, in: extent.buffer)
      let rest = size - discarded
      let count = try source.readFully(into: extent.buffer, 0..<rest + VMAFormat.extentHeaderSize)
      parser.skipData(discarded + min(count, rest))
      if count < rest { try parser.checkEnd() }
      headerBytes.copy(from: extent.buffer, rest..<count, to: 0)
      self.headerCount = count - rest
    } catch let error as FormatError {
      throw Failure(name, error)
    }
    return true
  }

  /// Reads bytes and drops them, except the last few, which are read with the next header.
  ///
  /// - Returns: the bytes read, fewer than `size`.
  private func discard(_ size: Int, in buffer: Buffer) throws -> Int {
    var done = 0
    while size - done > Self.discardSize {
      let count = try source.readFully(into: buffer, 0..<Self.discardSize)
      done += count
      if count < Self.discardSize { break }
    }
    return done
  }
}
