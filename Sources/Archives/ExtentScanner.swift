// SPDX-License-Identifier: Apache-2.0

import Compression
import System
import VMA

/// Cuts a stream into extents. The header of an extent is read together with the blocks of the one
/// before it, so that each extent takes one read of a file.
final class ExtentScanner: @unchecked Sendable {
  private let source: any ByteSource
  private let name: String
  private let uuid: UUID
  private var byte: UInt64
  private var number = 0
  private let headerBytes: Buffer
  /// How many bytes of the next header are there; nil before the first read.
  private var headerCount: Int?
  /// What is read at once of blocks that nobody needs: it stays in the processor's cache.
  private static let discardSize = 1 << 19
  private let keepsData: Bool

  init(source: any ByteSource, name: String, uuid: UUID, start: UInt64, keepsData: Bool) throws {
    headerBytes = try Buffer(capacity: Format.extentHeaderSize)
    self.keepsData = keepsData
    self.source = source
    self.name = name
    self.uuid = uuid
    byte = start
  }

  /// - Returns: false at the end of the archive.
  func read(into extent: Extent) throws -> Bool {
    let headerCount =
      try headerCount ?? source.readFully(into: headerBytes, 0..<headerBytes.capacity)
    guard headerCount > 0 else { return false }
    let failing = { [name, number, byte] (fault: Fault) in
      Failure(name, FormatError(fault, in: .extent(number), at: byte))
    }
    do {
      extent.header = try headerBytes.withBytes(0..<headerCount) { [uuid] (bytes) throws(Fault) in
        try ExtentHeader(parsing: bytes, uuid: uuid, digest: MD5.self)
      }
    } catch {
      throw failing(error)
    }
    extent.number = number
    extent.byte = byte

    let size = extent.header.dataSize
    let discarded = try keepsData ? 0 : discard(size, in: extent.buffer)
    let rest = size - discarded
    let count = try source.readFully(into: extent.buffer, 0..<rest + Format.extentHeaderSize)
    guard count >= rest else {
      throw failing(.truncated(expected: size, found: discarded + count))
    }
    headerBytes.copy(from: extent.buffer, rest..<count, to: 0)
    self.headerCount = count - rest
    byte += UInt64(Format.extentHeaderSize + size)
    number += 1
    return true
  }

  /// Reads bytes and forgets them, but for the last few, which are read with the next header.
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
