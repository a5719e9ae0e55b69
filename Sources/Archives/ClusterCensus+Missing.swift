// SPDX-License-Identifier: Apache-2.0

import System
package import VMA

extension ClusterCensus {
  /// Checks that all clusters of some devices have arrived.
  ///
  /// - Parameter archive: its name, for the message.
  /// - Throws: `Failure` 65.
  package func requireComplete(_ devices: [ArchiveHeader.Device], in archive: String) throws {
    do {
      try checkComplete(devices)
    } catch {
      let failure = Failure(archive, error)
      // The error names only the first device.
      throw failure.naming(devices.filter { !isComplete($0) }.dropFirst(), as: "also incomplete")
    }
  }

  func incomplete(of header: ArchiveHeader) -> [ArchiveHeader.Device] {
    header.devices.filter { !isComplete($0) }
  }

  /// Whether all clusters of a part of a disk have arrived.
  package func has(_ window: Range<UInt64>, of device: ArchiveHeader.Device) -> Bool {
    let size = UInt64(VMAFormat.clusterSize)
    return window.isEmpty
      || next(
        seen: false, of: device, from: window.lowerBound / size,
        below: (window.upperBound - 1) / size + 1) == nil
  }
}
