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

  /// The maximum content of a chunk.
  package static let chunkLimit: UInt64 = 256 << 20

  /// - Parameters:
  ///   - points: ascending, the first at the start of the content.
  ///   - histories: contains their histories.
  package init(
    _ file: any RandomAccess, points: [ZstdPoint], contentSize: UInt64,
    histories: any RandomAccess
  ) {
    name = file.name
    self.file = file
    self.points = points
    self.histories = histories
    chunks = points.indices.map { index in
      let next = index + 1 < points.count ? points[index + 1] : nil
      return Chunk(
        stored: points[index].stored..<(next?.stored ?? file.size),
        content: points[index].content..<(next?.content ?? contentSize))
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
