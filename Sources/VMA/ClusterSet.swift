// SPDX-License-Identifier: Apache-2.0

/// A set of clusters, one bit each.
///
/// A plain bit field needs memory for what a header merely claims, and a few bytes can claim 254
/// devices of 256 TiB. So a small claim uses a dense field, and a large one uses hashed words,
/// which only need memory for clusters that arrive.
package struct ClusterSet: Sendable {
  private enum Words: Sendable {
    case dense([UInt64])
    case sparse([UInt64: UInt64])
  }

  private var words: Words
  // Clusters mostly arrive in order: of 64 insertions, 63 touch only this word.
  private var currentIndex: UInt64 = 0
  private var current: UInt64 = 0

  /// An empty set.
  ///
  /// - Parameter denseCount: the number of clusters for the dense form; nil for the sparse form.
  package init(denseCount: UInt64?) {
    words =
      if let denseCount {
        .dense([UInt64](repeating: 0, count: Int(denseCount.dividedRoundingUp(by: 64))))
      } else {
        .sparse([:])
      }
  }

  /// Inserts a cluster.
  ///
  /// - Parameter cluster: in dense form, less than `denseCount`.
  /// - Returns: whether it is new.
  package mutating func insert(_ cluster: UInt64) -> Bool {
    if cluster / 64 != currentIndex {
      store()
      currentIndex = cluster / 64
      current = load(currentIndex)
    }
    let bit: UInt64 = 1 &<< (cluster % 64)
    defer { current |= bit }
    return current & bit == 0
  }

  package func contains(_ cluster: UInt64) -> Bool {
    word(cluster / 64) >> (cluster % 64) & 1 == 1
  }

  /// The first cluster at or after `cluster` that is in the set, or is not; `limit` if none.
  package func next(from cluster: UInt64, limit: UInt64, inSet: Bool) -> UInt64 {
    var cluster = cluster
    while cluster < limit {
      if inSet, let sparse = nextStored(from: cluster / 64), sparse > cluster / 64 {
        cluster = sparse == .max ? limit : sparse * 64
        continue
      }
      let bits = (inSet ? word(cluster / 64) : ~word(cluster / 64)) >> (cluster % 64)
      if bits != 0 { return min(cluster + UInt64(bits.trailingZeroBitCount), limit) }
      cluster = (cluster / 64 + 1) * 64
    }
    return limit
  }

  /// In sparse form with few words: the first non-empty word at or after `index`, so that a search
  /// skips empty words; `.max` if there is none. Otherwise nil.
  private func nextStored(from index: UInt64) -> UInt64? {
    guard case .sparse(let words) = words, words.count <= 1024, word(index) == 0 else { return nil }
    let stored = words.keys.lazy.filter { $0 > index }.min() ?? .max
    return current != 0 && currentIndex > index ? min(stored, currentIndex) : stored
  }

  /// Calls `body` with each non-empty word of 64 clusters, ascending: its index (the number of its
  /// first cluster, divided by 64) and its bits. The time depends only on the number of clusters in
  /// the set.
  package func forEachWord<Failure: Error>(
    _ body: (_ index: UInt64, _ bits: UInt64) throws(Failure) -> Void
  ) throws(Failure) {
    switch words {
    case .dense(let words):
      for index in words.indices {
        let bits = word(UInt64(index))
        if bits != 0 { try body(UInt64(index), bits) }
      }
    case .sparse(let words):
      var indices = Array(words.keys)
      if current != 0, words[currentIndex] == nil { indices.append(currentIndex) }
      for index in indices.sorted() { try body(index, word(index)) }
    }
  }

  /// Inserts all clusters of another set.
  package mutating func formUnion(_ other: ClusterSet) {
    other.forEachWord { index, bits in
      var rest = bits
      while rest != 0 {
        _ = insert(index * 64 + UInt64(rest.trailingZeroBitCount))
        rest &= rest - 1
      }
    }
  }

  /// The 64 clusters from `index * 64` on, one bit each.
  package func word(_ index: UInt64) -> UInt64 {
    index == currentIndex ? current : load(index)
  }

  private func load(_ index: UInt64) -> UInt64 {
    switch words {
    case .dense(let words): words[Int(index)]
    case .sparse(let words): words[index] ?? 0
    }
  }

  private mutating func store() {
    guard current != 0 else { return }
    switch words {
    case .dense(var dense):
      words = .sparse([:])
      dense[Int(currentIndex)] = current
      words = .dense(dense)
    case .sparse(var sparse):
      words = .dense([])
      sparse[currentIndex] = current
      words = .sparse(sparse)
    }
  }
}
