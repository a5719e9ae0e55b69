// SPDX-License-Identifier: Apache-2.0

import Compression
import Synchronization
import System
import VMA

/// A compressed archive in frames that allow random access: the header of the archive, headers of
/// extents, and data of extents are in frames of their own.
///
/// So the headers of all extents can be read without their data. Extents without data share a frame of
/// headers.
final class ExtentFrames {
  private let writer: FrameWriter
  private let level: Int
  private let frameSize: Int?
  /// Headers of extents without data.
  private var headers: Buffer
  private var headerCount = 0

  private static let headersPerFrame = 64
  /// Headers are small, so that a high level costs little time.
  private static let headerLevel = 15

  init(_ settings: ZstdSettings, output: Descriptor) throws {
    writer = try FrameWriter(threads: settings.threads, output: output)
    level = settings.level
    frameSize = settings.frameSize
    headers = try Self.headerBuffer()
  }

  var byteCount: UInt64 { writer.byteCount }

  func write(header: [UInt8]) throws {
    let buffer = try Buffer(capacity: header.count)
    buffer.copy(header, to: 0)
    try writer.write(buffer, [0..<header.count], level: level)
    try writer.flush()
  }

  func write(
    _ extent: PackedExtent, recycle: @escaping @Sendable (PackedExtent) -> Void
  ) throws {
    let (header, blocks) = (extent.ranges[0], Array(extent.ranges.dropFirst()))
    if blocks.isEmpty {
      headers.copy(from: extent.buffer, header, to: headerCount * header.count)
      recycle(extent)
      headerCount += 1
      if headerCount == Self.headersPerFrame { try writeHeaders() }
      return
    }
    try writeHeaders()
    let frames = frameSize.map { blocks.pieces(atMost: $0) } ?? [blocks]
    // The header's frame uses the extent, too.
    let uses = Mutex(frames.count + 1)
    let release: @Sendable () -> Void = {
      let isLast = uses.withLock { uses in
        uses -= 1
        return uses == 0
      }
      if isLast { recycle(extent) }
    }
    try writer.write(extent.buffer, [header], level: Self.headerLevel, whenRead: release)
    for frame in frames {
      try writer.write(extent.buffer, frame, level: level, whenRead: release)
    }
  }

  func finish() throws {
    try writeHeaders()
    try writer.finish()
  }

  private func writeHeaders() throws {
    guard headerCount > 0 else { return }
    try writer.write(
      headers, [0..<headerCount * VMAFormat.extentHeaderSize], level: Self.headerLevel)
    headers = try Self.headerBuffer()
    headerCount = 0
  }

  private static func headerBuffer() throws -> Buffer {
    try Buffer(capacity: headersPerFrame * VMAFormat.extentHeaderSize)
  }
}

extension [Range<Int>] {
  /// The same bytes in lists of ranges with at most `size` bytes each.
  fileprivate func pieces(atMost size: Int) -> [[Range<Int>]] {
    var pieces: [[Range<Int>]] = []
    var piece: [Range<Int>] = []
    var room = size
    for range in self {
      var start = range.lowerBound
      while start < range.upperBound {
        let end = Swift.min(start + room, range.upperBound)
        piece.append(start..<end)
        room -= end - start
        start = end
        if room == 0 {
          pieces.append(piece)
          (piece, room) = ([], size)
        }
      }
    }
    return piece.isEmpty ? pieces : pieces + [piece]
  }
}
