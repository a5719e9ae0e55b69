// SPDX-License-Identifier: Apache-2.0

import System

/// The clusters of a disk that are zeros and still to be reported: one bit for each, so that their
/// number does not matter.
struct PendingZeros {
  private let words: Buffer
  /// A bit for each word that is not 0.
  private let summary: Buffer
  private let wordCount: Int
  private(set) var count = 0
  /// The word where the last run was found: background copying is sequential.
  private var cursor = 0

  init(clusterCount: Int) throws {
    wordCount = clusterCount / 64 + 1
    words = try Buffer(capacity: wordCount * 8)
    summary = try Buffer(capacity: (wordCount / 64 + 1) * 8)
  }

  mutating func insert(_ clusters: Range<Int>) {
    var cluster = clusters.lowerBound
    while cluster < clusters.upperBound {
      let (index, end) = (cluster / 64, min(clusters.upperBound, (cluster / 64 + 1) * 64))
      let bits = Self.bits(cluster % 64, end - cluster)
      let old = words.word(index)
      count += (bits & ~old).nonzeroBitCount
      words.setWord(index, old | bits)
      summary.setWord(index / 64, summary.word(index / 64) | 1 << (index % 64))
      cluster = end
    }
  }

  /// Removes and returns one run of clusters.
  mutating func next() -> Range<Int>? {
    guard count > 0, var index = firstWord(from: cursor) ?? firstWord(from: 0) else { return nil }
    let start = index * 64 + words.word(index).trailingZeroBitCount
    var end = start
    while index < wordCount {
      let first = end % 64
      let length = (~(words.word(index) >> first)).trailingZeroBitCount
      let run = min(length, 64 - first)
      let rest = words.word(index) & ~Self.bits(first, run)
      words.setWord(index, rest)
      if rest == 0 {
        summary.setWord(index / 64, summary.word(index / 64) & ~(1 << (index % 64)))
      }
      end += run
      guard first + run == 64 else { break }
      index += 1
    }
    cursor = min(index, wordCount - 1)
    count -= end - start
    return start..<end
  }

  /// The next word at or after `index` that is not 0.
  private func firstWord(from index: Int) -> Int? {
    var group = index / 64
    var bits = summary.word(group) & (.max << (index % 64))
    while bits == 0 {
      group += 1
      guard group <= (wordCount - 1) / 64 else { return nil }
      bits = summary.word(group)
    }
    return group * 64 + bits.trailingZeroBitCount
  }

  /// This many bits from a position on, at most up to the last.
  private static func bits(_ first: Int, _ count: Int) -> UInt64 {
    count == 0 ? 0 : (.max >> (64 - count)) << first
  }
}
