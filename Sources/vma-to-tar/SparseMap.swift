// SPDX-License-Identifier: Apache-2.0

import Archives

/// The regions of a disk in a sparse tar member, up to a maximum number. Beyond that, the smallest
/// holes become data, the first of them first, so that the same disk always results in the same
/// map.
struct SparseMap {
  private(set) var ranges: [Range<UInt64>] = []

  init(_ disk: OrderedDisk, limit: Int) {
    // Holes are counted by their size before any list is created: the list for a fragmented disk of
    // 4 TiB would need too much memory.
    var countBySize: [UInt64: Int] = [:]
    var regionCount = 0
    var end: UInt64?
    disk.forEachStoredRange { range in
      if let end { countBySize[range.lowerBound - end, default: 0] += 1 }
      end = range.upperBound
      regionCount += 1
    }
    var surplus = max(0, regionCount - limit)
    var closesBelow: UInt64 = 0
    var closesAtLimit = 0
    for (size, count) in countBySize.sorted(by: { $0.key < $1.key }) where surplus > 0 {
      closesBelow = size
      closesAtLimit = min(count, surplus)
      surplus -= closesAtLimit
    }
    ranges.reserveCapacity(min(regionCount, limit))
    disk.forEachStoredRange { range in
      if let last = ranges.last {
        let hole = range.lowerBound - last.upperBound
        let closes = hole < closesBelow || hole == closesBelow && closesAtLimit > 0
        if closes {
          if hole == closesBelow { closesAtLimit -= 1 }
          ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
          return
        }
      }
      ranges.append(range)
    }
  }
}
