// SPDX-License-Identifier: Apache-2.0

import VMA

/// Assigns the digests of a damaged archive to its extents, some of which may be lost, and some of
/// the digests, too.
struct PendingProofs {
  /// An extent with data.
  struct Entry {
    var header: ExtentHeader
    /// Of all its data; nil if not all of it is present.
    var digest: UInt128?
    /// Clusters with data that were restored from this extent.
    var restored: [ExtentHeader.Slot]
    /// Those of them that are not proven without the digest.
    var suspects: [ExtentHeader.Slot]
  }

  private var pending: [Entry] = []
  /// Extents with data since the last digests, without a limit.
  private var count = 0
  private var hasDigests = false
  /// Restored clusters that no digest covers, without suspects.
  private var uncovered: [UInt8: ClusterSet] = [:]

  /// Adds the next extent with data.
  ///
  /// - Returns: clusters that will not be proven.
  mutating func add(_ entry: Entry) -> [ExtentHeader.Slot] {
    count += 1
    pending.append(entry)
    guard pending.count > ExtentDigests.capacity else { return [] }
    return leave(pending.removeFirst())
  }

  /// An extent that no digest covers.
  ///
  /// - Returns: clusters that will not be proven.
  private mutating func leave(_ entry: Entry) -> [ExtentHeader.Slot] {
    for slot in entry.restored {
      _ = uncovered[slot.device, default: ClusterSet(denseCount: nil)].insert(
        UInt64(slot.cluster))
    }
    return entry.suspects
  }

  /// Processes digests. They prove each extent whose digest is among them, wherever it is: the
  /// extents before it, and their digests, may be lost.
  ///
  /// - Parameter doubt: called with each cluster that is not proven.
  /// - Returns: the faults.
  mutating func apply(
    _ digests: ExtentDigests, doubt: (ExtentHeader.Slot) -> Void
  ) -> [String] {
    hasDigests = true
    var faults: [String] = []
    let known = Set(digests.values)
    let isExact = count == digests.values.count
    if !isExact {
      faults.append("digests of \(digests.values.count) extents, but \(count) precede")
    }
    for entry in pending {
      if let digest = entry.digest, known.contains(digest) { continue }
      if isExact {
        if entry.digest != nil { faults.append("\(FormatError.damagedData(of: entry.header))") }
        entry.restored.forEach(doubt)
      } else {
        leave(entry).forEach(doubt)
      }
    }
    pending = []
    count = 0
    return faults
  }

  /// Processes the end of the archive.
  ///
  /// - Parameters:
  ///   - isProvenOtherwise: whether data needs no digest.
  ///   - doubt: called with each cluster that is not proven.
  /// - Returns: the fault, if any.
  mutating func finish(
    isProvenOtherwise: Bool, doubt: (ExtentHeader.Slot) -> Void
  ) -> String? {
    let isTruncated = hasDigests && count > 0
    for entry in pending { leave(entry).forEach(doubt) }
    pending = []
    count = 0
    if hasDigests, !isProvenOtherwise {
      for (device, clusters) in uncovered {
        clusters.forEachWord { index, bits in
          for bit in 0..<64 as Range<UInt64> where bits >> bit & 1 == 1 {
            doubt(
              ExtentHeader.Slot(
                device: device, cluster: UInt32(truncatingIfNeeded: index * 64 + bit), mask: 0))
          }
        }
      }
    }
    uncovered = [:]
    return isTruncated ? "archive is truncated: no digest follows the last data" : nil
  }
}
