// SPDX-License-Identifier: Apache-2.0

package import Compression
import Files
package import System
package import VMA

/// The uncompressed archive, of which an index file is created while it is read. The index contains all
/// headers of the archive.
package final class IndexRecording: ByteSource, @unchecked Sendable {
  private enum Part {
    /// The part of the archive header, or all of an extent header, that is collected.
    case start, rest, extent
  }

  private let builder: IndexBuilder
  private let piece: Buffer
  private var pieceCount = 0
  private var position: UInt64 = 0
  private var part = Part.start
  /// Bytes of the archive header after the piece.
  private var headerRest = 0
  /// Bytes before the next extent header.
  private var skipped = 0
  /// What is read is not an archive; its reader reports that.
  private var isOff = false

  private static let pieceSize = 1 << 16
  /// The fields that contain the size of the archive header, and the blocks of an extent.
  private static let headerSize = 56..<60
  private static let blockCount = 6..<8

  /// - Parameters:
  ///   - file: the compressed archive.
  ///   - output: an empty regular file.
  ///   - spacing: of the points, in bytes of the content.
  package init(
    _ file: any RandomAccess, output: Descriptor, spacing: UInt64 = IndexBuilder.defaultSpacing
  ) throws {
    builder = try IndexBuilder(file, output: output, spacing: spacing)
    piece = try Buffer(capacity: Self.pieceSize)
  }

  package func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    let count = try builder.read(into: buffer, range)
    try collect(buffer, range.lowerBound..<range.lowerBound + count)
    return count
  }

  /// Completes the index, after all of the archive was read and found sound.
  ///
  /// - Returns: where decoding can start, for the user.
  /// - Throws: status 1 if the archive cannot be indexed, 65 if it has changed, 74 if writing fails.
  package func finish(_ header: ArchiveHeader) throws -> String {
    try builder.finish(uuid: header.uuid.value)
  }

  private func collect(_ buffer: Buffer, _ range: Range<Int>) throws {
    var rest = range
    while !rest.isEmpty, !isOff {
      let isSkipping = skipped > 0
      let count = min(rest.count, isSkipping ? skipped : wanted - pieceCount)
      if isSkipping {
        skipped -= count
        position += UInt64(count)
      } else {
        piece.copy(from: buffer, rest.lowerBound..<rest.lowerBound + count, to: pieceCount)
        pieceCount += count
        if pieceCount == wanted { try endPiece() }
      }
      rest = rest.lowerBound + count..<rest.upperBound
    }
  }

  /// The size of the current piece.
  private var wanted: Int {
    part == .rest ? min(headerRest, Self.pieceSize) : VMAFormat.extentHeaderSize
  }

  private func endPiece() throws {
    try builder.excerpts.add(at: position, piece, 0..<pieceCount)
    position += UInt64(pieceCount)
    switch part {
    case .start:
      let size = field(Self.headerSize)
      guard size > pieceCount else {
        isOff = true
        return
      }
      headerRest = size - pieceCount
      part = .rest
    case .rest:
      headerRest -= pieceCount
      if headerRest == 0 { part = .extent }
    case .extent:
      skipped = field(Self.blockCount) * VMAFormat.blockSize
    }
    pieceCount = 0
  }

  private func field(_ range: Range<Int>) -> Int {
    piece.withBytes(range) { bytes in
      bytes.indices.reduce(0) { $0 << 8 | Int(bytes[$1]) }
    }
  }
}
