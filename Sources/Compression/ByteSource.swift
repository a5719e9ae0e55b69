// SPDX-License-Identifier: Apache-2.0

package import System

/// A source of bytes that is read sequentially.
package protocol ByteSource: AnyObject, Sendable {
  /// Reads some bytes, at most `range.count`; 0 at the end.
  ///
  /// - Throws: `Failure` 74 if reading fails, 65 if the data is damaged.
  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int
}

extension ByteSource {
  /// Reads until the range is full or the source ends; returns the bytes read.
  package func readFully(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    var done = 0
    while done < range.count {
      let count = try read(into: buffer, range.lowerBound + done..<range.upperBound)
      if count == 0 { break }
      done += count
    }
    return done
  }
}

extension Descriptor: ByteSource {}
