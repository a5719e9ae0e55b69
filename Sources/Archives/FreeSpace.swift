// SPDX-License-Identifier: Apache-2.0

import VMA

/// Free parts of a file, for reuse; adjacent parts are joined. All positions and lengths are
/// multiples of a block. Each step takes the same time, whatever the number of parts.
struct FreeSpace {
  private struct Part {
    var end: UInt64
    /// The index of its start in the list for its length.
    var index: Int
  }

  /// The parts by their starts, and their starts by their ends.
  private var parts: [UInt64: Part] = [:]
  private var starts: [UInt64: UInt64] = [:]
  /// The starts of all parts of each length in blocks; the last ones are of that length or longer.
  private var byLength = [[UInt64]](repeating: [], count: VMAFormat.blocksPerExtent + 1)

  mutating func insert(_ range: Range<UInt64>) {
    var (start, end) = (range.lowerBound, range.upperBound)
    if let before = starts[start] {
      remove(before)
      start = before
    }
    if let after = parts[end]?.end {
      remove(end)
      end = after
    }
    let length = lengthClass(end - start)
    parts[start] = Part(end: end, index: byLength[length].count)
    starts[end] = start
    byLength[length].append(start)
  }

  /// Allocates bytes, at most those of an extent, from the smallest part that is large enough.
  ///
  /// - Returns: their position; nil if no part is large enough.
  mutating func take(_ length: UInt64) -> UInt64? {
    let fitting = byLength[lengthClass(length)...]
    guard let start = fitting.first(where: { !$0.isEmpty })?.last else { return nil }
    let end = remove(start)
    if start + length < end { insert(start + length..<end) }
    return start
  }

  /// - Returns: the end of the part.
  @discardableResult
  private mutating func remove(_ start: UInt64) -> UInt64 {
    guard let part = parts.removeValue(forKey: start) else { preconditionFailure() }
    starts[part.end] = nil
    let length = lengthClass(part.end - start)
    // The last one fills its slot.
    let last = byLength[length].removeLast()
    if last != start {
      byLength[length][part.index] = last
      parts[last]?.index = part.index
    }
    return part.end
  }

  private func lengthClass(_ length: UInt64) -> Int {
    min(Int(length) / VMAFormat.blockSize, byLength.count - 1)
  }
}
