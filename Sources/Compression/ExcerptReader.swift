// SPDX-License-Identifier: Apache-2.0

package import System

/// A content of which an index file has excerpts: those are read from there.
package final class ExcerptReader: RandomAccess {
  private let excerpts: Excerpts
  private let content: any RandomAccess

  package var name: String { content.name }
  package var size: UInt64 { content.size }

  /// - Parameter content: the whole content.
  package init(_ index: IndexFile, _ content: any RandomAccess) {
    excerpts = Excerpts(index)
    self.content = content
  }

  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    var done = 0
    while done < range.count {
      let place = offset + UInt64(done)
      let part = range.lowerBound + done..<range.upperBound
      let found = try excerpts.read(into: buffer, part, at: place)
      if found == 0 { return done + (try content.read(into: buffer, part, at: place)) }
      done += found
    }
    return done
  }

  package func contiguous(from offset: UInt64) -> UInt64 {
    excerpts.contiguous(from: offset) ?? content.contiguous(from: offset)
  }
}
