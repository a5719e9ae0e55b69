// SPDX-License-Identifier: Apache-2.0

extension RandomAccessCollection {
  /// The first index whose element satisfies a predicate, by binary search; `endIndex` if none does.
  ///
  /// - Parameter predicate: is also satisfied by all elements after one that satisfies it.
  package func partitionIndex(where predicate: (Element) -> Bool) -> Index {
    var (low, length) = (startIndex, count)
    while length > 0 {
      let half = length / 2
      let middle = index(low, offsetBy: half)
      if predicate(self[middle]) {
        length = half
      } else {
        low = index(after: middle)
        length -= half + 1
      }
    }
    return low
  }
}
