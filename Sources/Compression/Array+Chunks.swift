// SPDX-License-Identifier: Apache-2.0

import System

extension [Chunk] {
  /// Appends a chunk, if the memory is available: its number is known only at the end.
  mutating func add(stored: Range<UInt64>, contentSize: UInt64) throws(Failure) {
    try makeRoom(for: 1)
    let start = last?.content.upperBound ?? 0
    append(Chunk(stored: stored, content: start..<start + contentSize))
  }
}
