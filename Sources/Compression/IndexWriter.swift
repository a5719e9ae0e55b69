// SPDX-License-Identifier: Apache-2.0

package import System

/// Writes an index file. Several threads may call it at the same time.
package final class IndexWriter: @unchecked Sendable {
  private let output: Descriptor
  private let monitor = Monitor()
  private var position = UInt64(IndexFormat.headerSize)
  private(set) var points: [ZstdPoint] = []
  private var excerpts: [IndexExcerpt] = []
  private var frame: Buffer

  /// - Parameter output: an empty regular file.
  package init(_ output: Descriptor) throws {
    self.output = output
    frame = try Buffer(capacity: 1 << 16)
  }

  /// Adds a point, which is after all others.
  ///
  /// - Parameter range: its history.
  func add(_ point: ZstdPoint, _ history: Buffer, _ range: Range<Int>) throws {
    var point = point
    if point.windowByte != nil { point.history = try append(history, range) }
    monitor.withLock { points.append(point) }
  }

  /// Adds excerpts of the content, which are after all others.
  func add(_ content: Range<UInt64>, _ excerpts: Buffer, _ range: Range<Int>) throws {
    let frame = try append(excerpts, range)
    monitor.withLock { self.excerpts.append(IndexExcerpt(content: content, frame: frame)) }
  }

  private func append(_ buffer: Buffer, _ range: Range<Int>) throws -> IndexFrame {
    try monitor.withLock {
      let bound = IndexFrame.bound(range.count)
      if frame.capacity < bound { frame = try Buffer(capacity: bound) }
      let count = try IndexFrame.compress(buffer, range, into: frame)
      try output.write(frame, 0..<count, at: position)
      defer { position += UInt64(count) }
      return IndexFrame(
        position: position, storedSize: UInt32(count), size: UInt32(range.count))
    }
  }

  /// Completes the file.
  ///
  /// - Parameters:
  ///   - uuid: of the archive.
  ///   - contentSize: bytes of the uncompressed archive.
  package func finish(_ identity: ArchiveIdentity, uuid: UInt128, contentSize: UInt64) throws {
    let hash = try XXH3()
    var bytes = IndexFormat.magic
    func put<Value: FixedWidthInteger>(_ value: Value) {
      for shift in stride(from: Value.bitWidth - 8, through: 0, by: -8) {
        bytes.append(UInt8(truncatingIfNeeded: value >> Value(shift)))
      }
    }
    func put(_ frame: IndexFrame) {
      put(frame.position)
      put(frame.storedSize)
      put(frame.size)
    }
    func flush(at offset: UInt64) throws {
      let buffer = try Buffer(capacity: bytes.count)
      buffer.copy(bytes, to: 0)
      hash.update(buffer, 0..<bytes.count)
      try output.write(buffer, 0..<bytes.count, at: offset)
      bytes = []
    }
    put(UInt32(IndexFormat.version))
    put(UInt32(0))
    try flush(at: 0)

    var place = position
    func flushPart(_ isEnd: Bool) throws {
      guard isEnd || bytes.count >= 1 << 16 else { return }
      let count = bytes.count
      try flush(at: place)
      place += UInt64(count)
    }
    for point in points {
      put(point.stored)
      put(point.content)
      put(point.history)
      put(point.digest)
      put(UInt8(point.windowByte == nil ? 0 : 1))
      put(point.windowByte ?? 0)
      bytes += [UInt8](repeating: 0, count: 14)
      try flushPart(false)
    }
    for excerpt in excerpts {
      put(excerpt.content.lowerBound)
      put(excerpt.content.upperBound)
      put(excerpt.frame)
      try flushPart(false)
    }
    try flushPart(true)

    bytes += IndexFormat.magic
    put(UInt32(IndexFormat.version))
    put(UInt32(0))
    put(identity.size)
    put(contentSize)
    put(uuid)
    put(identity.startDigest)
    put(identity.endDigest)
    put(UInt64(points.count))
    put(UInt64(excerpts.count))
    put(position)
    put(UInt64(0))
    try flush(at: place)
    put(hash.value())
    try flush(at: place + UInt64(IndexFormat.digestStart))
  }
}
