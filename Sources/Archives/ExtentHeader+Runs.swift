// SPDX-License-Identifier: Apache-2.0

import VMA

extension ExtentHeader {
  /// The runs of one device in an extent, in the order of its slots.
  ///
  /// - Parameter start: where the blocks of the extent lie in the file (or buffer).
  func forEachRun(of device: UInt8, from start: UInt64, _ body: (DataRun) throws -> Void) rethrows {
    var position = start
    var pending: DataRun?
    for slot in slots {
      defer { position += UInt64(slot.mask.nonzeroBitCount * Format.blockSize) }
      guard slot.device == device, slot.mask != 0 else { continue }
      if let run = pending, run.end == UInt64(slot.cluster), run.mask == .max, slot.mask == .max,
        run.position + UInt64(run.length) == position
      {
        pending?.clusterCount += 1
        continue
      }
      if let run = pending { try body(run) }
      pending = DataRun(position: position, cluster: slot.cluster, clusterCount: 1, mask: slot.mask)
    }
    if let run = pending { try body(run) }
  }
}
