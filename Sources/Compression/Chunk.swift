// SPDX-License-Identifier: Apache-2.0

package import System

/// A part of compressed data that is decoded on its own: a frame of zstd, a block of lzop, or a job of
/// an encoder within a frame.
package struct Chunk: Sendable {
  /// Its bytes in the compressed data.
  package let stored: Range<UInt64>
  /// Its bytes in the content. The first chunk starts at 0, and each other one where the one before it
  /// ends.
  package let content: Range<UInt64>

  package init(stored: Range<UInt64>, content: Range<UInt64>) {
    self.stored = stored
    self.content = content
  }
}

/// Compressed data whose chunks are known, and how to decode one of them.
package protocol ChunkedData: AnyObject, Sendable {
  /// For messages.
  var name: String { get }
  /// Ascending, without gaps in their content.
  var chunks: [Chunk] { get }

  /// Decodes a whole chunk and checks it. Several threads may call this at the same time.
  ///
  /// - Parameter buffer: of at least the size of the chunk's content, which starts at byte 0 of it.
  /// - Throws: `Failure` 74 if reading fails, 65 if the data is damaged.
  func decode(_ index: Int, into buffer: Buffer) throws
}
