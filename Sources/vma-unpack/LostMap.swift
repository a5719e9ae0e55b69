// SPDX-License-Identifier: Apache-2.0

import Archives
import System
import VMA

/// The parts of a disk that could be restored, as a mapfile of GNU ddrescue. A damaged disk can have
/// millions of parts, and a disk can be huge according to its header alone: the parts are never all in
/// memory, and the time depends only on the clusters that were present.
struct LostMap {
  /// The signs of ddrescue.
  enum Sign: String {
    /// Proven, or read without any fault.
    case right = "+"
    /// Restored, but not proven; of ddrescue, "not tried".
    case unproven = "?"
    case lost = "-"
  }

  private let clusters: ClusterSet
  private let unproven: ClusterSet
  /// Bytes of the disk.
  private let size: UInt64
  private(set) var unprovenBytes: UInt64 = 0
  private(set) var lostBytes: UInt64 = 0
  private static let chunkSize = 1 << 16

  var isRight: Bool { unprovenBytes == 0 && lostBytes == 0 }

  init(_ device: ArchiveHeader.Device, _ reader: SalvageReader) {
    clusters = reader.census.clusters(of: device)
    unproven = reader.unprovenClusters(of: device)
    // Of vmstate, more may have come than it said, and more may have been lost.
    size = max(reader.census.length(of: device), device.size)
    var (unprovenBytes, lostBytes) = (UInt64(0), UInt64(0))
    forEachPart { range, sign in
      switch sign {
      case .right: break
      case .unproven: unprovenBytes += UInt64(range.count)
      case .lost: lostBytes += UInt64(range.count)
      }
    }
    self.unprovenBytes = unprovenBytes
    self.lostBytes = lostBytes
  }

  /// Calls `body` with each part of the disk in order, in bytes; neighbours have different signs.
  private func forEachPart(_ body: (Range<UInt64>, Sign) throws -> Void) rethrows {
    let clusterSize = UInt64(VMAFormat.clusterSize)
    var pending: (range: Range<UInt64>, sign: Sign) = (0..<0, .lost)
    /// Adds clusters up to this one.
    func add(upTo cluster: UInt64, _ sign: Sign) throws {
      let end = min(cluster * clusterSize, size)
      let start = pending.range.upperBound
      guard end > start else { return }
      if sign != pending.sign {
        if !pending.range.isEmpty { try body(pending.range, pending.sign) }
        pending = (start..<start, sign)
      }
      pending.range = pending.range.lowerBound..<end
    }
    try clusters.forEachWord { index, bits in
      let doubtful = unproven.word(index)
      if bits == .max, doubtful == 0 || doubtful == .max {
        try add(upTo: index * 64, .lost)
        return try add(upTo: index * 64 + 64, doubtful == 0 ? .right : .unproven)
      }
      var bit: UInt64 = 0
      while bit < 64 {
        let isThere = bits >> bit & 1 == 1
        let sign: Sign = !isThere ? .lost : doubtful >> bit & 1 == 1 ? .unproven : .right
        if isThere {
          // The clusters in between are lost.
          try add(upTo: index * 64 + bit, .lost)
          try add(upTo: index * 64 + bit + 1, sign)
        }
        bit += 1
      }
    }
    try add(upTo: .max / clusterSize, .lost)
    if !pending.range.isEmpty { try body(pending.range, pending.sign) }
  }

  func write(to descriptor: Descriptor) throws {
    func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16, uppercase: true) }
    var text = "# Mapfile. Created by vma-unpack\n# current_pos  current_status  current_pass\n"
    text += "\(hex(0))     +               1\n#      pos        size  status\n"
    try forEachPart { range, sign in
      text += "\(hex(range.lowerBound))  \(hex(UInt64(range.count)))  \(sign.rawValue)\n"
      if text.utf8.count >= Self.chunkSize {
        try descriptor.write(Array(text.utf8))
        text = ""
      }
    }
    try descriptor.write(Array(text.utf8))
  }
}
