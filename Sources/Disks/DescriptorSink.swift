// SPDX-License-Identifier: Apache-2.0

package import System

/// A descriptor that a disk is written to. Zeros become holes only where that is certainly right:
/// in a regular file, not opened for appending, from its end on. Otherwise many pieces are written
/// by one system call.
package struct DescriptorSink: DiskSink {
  private let descriptor: Descriptor
  /// For a file that can have holes: the position of the next byte, the minimum size of the file,
  /// and the position of the descriptor.
  private var file: (next: UInt64, end: UInt64, position: UInt64)?
  /// Pieces that are not written yet.
  private var pieces: [(buffer: Buffer, range: Range<Int>)] = []
  private var byteCount = 0

  /// The limits of one system call: no signal is handled before its end.
  private static let mostPieces = 1024
  private static let mostBytes = 1 << 22

  package init(_ descriptor: Descriptor) throws {
    self.descriptor = descriptor
    let status = try descriptor.status()
    if status.kind == .regular, !descriptor.isAppending {
      let position = descriptor.position ?? 0
      if position >= status.size { file = (position, position, position) }
    }
  }

  package mutating func write(_ buffer: Buffer, _ range: Range<Int>) throws {
    guard let place = file?.next else { return try add(buffer, range) }
    try descriptor.write(buffer, range, at: place)
    let end = place + UInt64(range.count)
    file?.next = end
    file?.end = end
  }

  package mutating func skip(zeros count: UInt64) throws {
    guard file == nil else {
      file?.next += count
      return
    }
    var rest = count
    while rest > 0 {
      let part = Int(min(rest, UInt64(Buffer.zeros.capacity)))
      try add(.zeros, 0..<part)
      rest -= UInt64(part)
    }
  }

  private mutating func add(_ buffer: Buffer, _ range: Range<Int>) throws {
    pieces.append((buffer, range))
    byteCount += range.count
    if pieces.count == Self.mostPieces || byteCount >= Self.mostBytes { try flush() }
  }

  package mutating func flush() throws {
    if let (next, end, position) = file {
      // If a later step fails, the file still has the right length.
      if next > end { try descriptor.truncate(to: next) }
      if next != position { try descriptor.seek(to: next) }
      file = (next, max(next, end), next)
    } else if !pieces.isEmpty {
      try descriptor.write(pieces)
      pieces.removeAll(keepingCapacity: true)
      byteCount = 0
    }
  }
}
