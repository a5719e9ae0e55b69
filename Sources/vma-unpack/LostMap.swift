// SPDX-License-Identifier: Apache-2.0

import FilterIO
import VMA

/// What of a disk could not be restored, as a mapfile of GNU ddrescue. A torn disk can have millions
/// of parts: they are never in memory all at once.
struct LostMap {
  private let device: Device
  private let census: ClusterCensus
  private static let chunkSize = 1 << 16

  init(_ device: Device, _ census: ClusterCensus) {
    self.device = device
    self.census = census
  }

  /// Calls `body` with each part of the disk in order, in bytes, and whether it is there.
  private func forEachPart(_ body: (Range<UInt64>, _ isThere: Bool) throws -> Void) rethrows {
    let clusterSize = UInt64(Format.clusterSize)
    // Of vmstate, more may have come than it said, and more may have been lost.
    let size = max(census.length(of: device), device.size)
    var cluster: UInt64? = 0
    var isThere = true
    while let first = cluster, first * clusterSize < size {
      let next = census.next(seen: !isThere, of: device, from: first)
      let start = first * clusterSize
      let end = next.map { $0 * clusterSize } ?? size
      if end > start { try body(start..<end, isThere) }
      cluster = next
      isThere.toggle()
    }
  }

  var lostBytes: UInt64 {
    var count: UInt64 = 0
    forEachPart { range, isThere in if !isThere { count += UInt64(range.count) } }
    return count
  }

  /// Writes the file: `+` for what is there, `-` for what is lost.
  func write(to descriptor: Descriptor) throws {
    func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16, uppercase: true) }
    var text = "# Mapfile. Created by vma-unpack\n# current_pos  current_status  current_pass\n"
    text += "\(hex(0))     +               1\n#      pos        size  status\n"
    try forEachPart { range, isThere in
      text += "\(hex(range.lowerBound))  \(hex(UInt64(range.count)))  \(isThere ? "+" : "-")\n"
      if text.utf8.count >= Self.chunkSize {
        try descriptor.write(Array(text.utf8))
        text = ""
      }
    }
    try descriptor.write(Array(text.utf8))
  }
}
