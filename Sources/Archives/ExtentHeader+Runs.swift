// SPDX-License-Identifier: Apache-2.0

import VMA

extension ExtentHeader {
  /// Calls `body` with the runs in an extent, in the order of its slots.
  ///
  /// - Parameters:
  ///   - start: where the blocks of the extent are in the file (or buffer).
  ///   - body: gets a run and its device.
  func forEachRun(from start: UInt64, _ body: (DataRun, UInt8) throws -> Void) rethrows {
    var position = start
    var pending: (run: DataRun, device: UInt8)?
    for slot in slots where slot.mask != 0 {
      defer { position += UInt64(slot.mask.nonzeroBitCount * VMAFormat.blockSize) }
      if let (run, device) = pending {
        // The blocks between two slots of one device belong to another device.
        if device == slot.device, run.end == UInt64(slot.cluster), run.mask == .max,
          slot.mask == .max
        {
          pending?.run.clusterCount += 1
          continue
        }
        try body(run, device)
      }
      let run = DataRun(position: position, cluster: slot.cluster, clusterCount: 1, mask: slot.mask)
      pending = (run, slot.device)
    }
    if let (run, device) = pending { try body(run, device) }
  }
}
