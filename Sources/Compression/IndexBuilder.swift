// SPDX-License-Identifier: Apache-2.0

package import System

/// Creates an index file of a zstd-compressed file while its content is read for another purpose.
package final class IndexBuilder: ByteSource, @unchecked Sendable {
  /// The least distance of points in the content: a chunk of this size is decoded for each access.
  package static let defaultSpacing: UInt64 = 32 << 20

  private let file: any RandomAccess
  private let identity: ArchiveIdentity
  private let output: Descriptor
  private let writer: IndexWriter
  private let recorder: ZstdRecorder
  private let content: FramedSource
  private var contentSize: UInt64 = 0
  /// Receives the parts of the content that are needed to open it.
  package let excerpts: ExcerptPacker

  /// - Parameters:
  ///   - file: the compressed file.
  ///   - output: an empty regular file.
  ///   - spacing: the least distance of points in the content, in bytes.
  package init(
    _ file: any RandomAccess, output: Descriptor, spacing: UInt64 = defaultSpacing
  ) throws {
    self.file = file
    identity = try ArchiveIdentity(of: file)
    self.output = output
    let writer = try IndexWriter(output)
    self.writer = writer
    recorder = try ZstdRecorder(name: file.name, spacing: spacing) { point, history, range in
      try writer.add(point, history, range)
    }
    content = try FramedSource(
      AccessSource(file), try SkippableFrames(observer: recorder), name: file.name, log: nil)
    excerpts = try ExcerptPacker(writer)
  }

  deinit { recorder.cancel() }

  /// Reads the content.
  package func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    let count = try content.read(into: buffer, range)
    contentSize += UInt64(count)
    return count
  }

  /// Completes the index, after all of the content was read and found sound.
  ///
  /// - Parameter uuid: of the archive.
  /// - Returns: where decoding can start, for the user.
  /// - Throws: status 1 if the file cannot be indexed, 65 if it has changed, 74 if writing fails.
  package func finish(uuid: UInt128) throws -> String {
    let (summary, unproven) = try recorder.finish()
    try prove(unproven)
    if let difference = identity.difference(from: try ArchiveIdentity(of: file)) {
      throw Failure(.badData, "\(file.name): has changed while it was read: \(difference)")
    }
    try excerpts.flush()
    try writer.finish(identity, uuid: uuid, contentSize: contentSize)
    return summary
  }

  /// Decodes the chunks of some points, which is rarely necessary.
  private func prove(_ numbers: [Int]) throws {
    guard !numbers.isEmpty else { return }
    let frames = ZstdIndexedFrames(
      file, points: writer.points, contentSize: contentSize, histories: try FileBytes(output))
    for number in numbers {
      do {
        let size = frames.chunks[number].content.count
        try frames.decode(number, into: Buffer(capacity: size))
      } catch let failure as Failure where failure.status == .badData {
        throw Failure(.general, "\(file.name): cannot be indexed: \(failure.message)")
      }
    }
  }
}
