// SPDX-License-Identifier: Apache-2.0

import VMA

/// What of a disk could not be restored, as a mapfile of GNU ddrescue.
struct LostMap {
  /// Parts of the disk in order, in bytes.
  private var parts: [(range: Range<UInt64>, isThere: Bool)] = []

  init(_ device: Device, _ census: ClusterCensus) {
    let clusterSize = UInt64(Format.clusterSize)
    // Of vmstate, more may have come than it said, and more may have been lost.
    let size = max(census.length(of: device), device.size)
    var cluster: UInt64 = 0
    var isThere = true
    while cluster * clusterSize < size {
      let next = census.next(seen: !isThere, of: device, from: cluster)
      let start = cluster * clusterSize
      let end = next.map { $0 * clusterSize } ?? size
      if end > start { parts.append((start..<end, isThere)) }
      cluster = next ?? UInt64.max / clusterSize
      isThere.toggle()
    }
  }

  var lostBytes: UInt64 {
    parts.reduce(0) { $0 + ($1.isThere ? 0 : UInt64($1.range.count)) }
  }

  /// The file: `+` for what is there, `-` for what is lost.
  var text: String {
    func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16, uppercase: true) }
    var text = "# Mapfile. Created by vma-unpack\n# current_pos  current_status  current_pass\n"
    text += "\(hex(0))     +               1\n#      pos        size  status\n"
    for part in parts {
      let size = hex(UInt64(part.range.count))
      text += "\(hex(part.range.lowerBound))  \(size)  \(part.isThere ? "+" : "-")\n"
    }
    return text
  }
}
