// SPDX-License-Identifier: Apache-2.0

package import System

/// Zstd data with points where decoding can start. All that is decoded is compared with the digests of
/// the points, so that a wrong point causes an error and never wrong data.
package final class ZstdIndexedFrames: ChunkedData {
  package let name: String
  package let chunks: [Chunk]
  private let points: [ZstdPoint]
  private let file: any RandomAccess
  private let histories: any RandomAccess
  /// What the index tells of the content; it must not differ.
  private let excerpts: Excerpts?

  /// The maximum content of a chunk.
  package static let chunkLimit: UInt64 = 256 << 20

  /// - Parameters:
  ///   - points: ascending, the first at the start of the content.
  ///   - histories: contains their histories.
  ///   - index: whose excerpts must equal the content; nil not to compare them.
  package init(
    _ file: any RandomAccess, points: [ZstdPoint], contentSize: UInt64,
    histories: any RandomAccess, comparing index: IndexFile? = nil
  ) {
    name = file.name
    self.file = file
    self.points = points
    self.histories = histories
    excerpts = index.map { Excerpts($0) }
    chunks = Self.chunks(points, storedSize: file.size, contentSize: contentSize)
  }

  /// - Parameter shift: bytes to add to the places of the points.
  convenience init(_ file: any RandomAccess, _ index: IndexFile, shiftedBy shift: Int64 = 0) {
    let points = index.points.map { point in
      var moved = point
      moved.stored = UInt64(max(0, Int64(point.stored) + shift))
      return moved
    }
    self.init(
      file, points: points, contentSize: index.contentSize, histories: index.file,
      comparing: index)
  }

  private static func chunks(
    _ points: [ZstdPoint], storedSize: UInt64, contentSize: UInt64
  ) -> [Chunk] {
    points.indices.map { index in
      let next = index + 1 < points.count ? points[index + 1] : nil
      let (stored, content) = (points[index].stored, points[index].content)
      return Chunk(
        // The file may be shorter than before, if it is damaged.
        stored: stored..<(next?.stored ?? max(storedSize, stored)),
        content: content..<(next?.content ?? contentSize))
    }
  }

  package func decode(_ index: Int, into buffer: Buffer) throws {
    let (point, chunk) = (points[index], chunks[index])
    let count = Int(chunk.content.count)
    let source = PartSource(file, chunk.stored, prefix: point.windowByte.map(Self.header) ?? [])
    do {
      let history = try point.windowByte.map { _ in
        try IndexFrame.read(point.history, from: histories)
      }
      let frames = try ZstdFrames(history: history)
      let content = try FramedSource(source, frames, name: name, log: nil)
      guard try content.readFully(into: buffer, 0..<count) == count else {
        throw Failure(.badData, "\(name): the data ends early")
      }
      guard try XXH3().digest(of: [0..<count], in: buffer) == point.digest else {
        throw Failure(.badData, "\(name): the data differs")
      }
      guard try excerpts?.match(buffer, chunk.content) ?? true else {
        throw Failure(.badData, "\(name): the data differs from its excerpts in the index")
      }
    } catch let failure as Failure where failure.status == .badData {
      throw Failure(
        .badData,
        "\(failure.message) (in bytes \(chunk.stored.lowerBound) to \(chunk.stored.upperBound), "
          + "which do not match the index \(histories.name); the archive is damaged, or the index "
          + "is of another version of it)")
    }
  }

  /// A frame header for the rest of a frame.
  static func header(windowByte: UInt8) -> [UInt8] { [0x28, 0xb5, 0x2f, 0xfd, 0, windowByte] }
}
