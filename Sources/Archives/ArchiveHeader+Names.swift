// SPDX-License-Identifier: Apache-2.0

import Compression
import System
package import VMA

extension ArchiveHeader {
  /// The header of the archive at a path, for completions.
  package init(ofFile path: String) throws {
    let input = try Input.open(path)
    self = try ArchiveReader(input.source, name: input.name).header
  }

  /// The device that a user means: an exact name first, then with `drive-` before it (`scsi0`).
  package func device(named name: String) -> ArchiveHeader.Device? {
    devices.first { $0.name == Array(name.utf8) }
      ?? devices.first { $0.name == Array("drive-\(name)".utf8) }
  }

  /// Names for a message of limited length: at most 20 of them, and 80 bytes of each.
  package static func list(_ names: [[UInt8]]) -> String {
    let shown = names.prefix(20).map { String(decoding: $0.prefix(80), as: UTF8.self) }
    let rest = names.count - shown.count
    return shown.joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
  }

  package func config(named name: String) -> ArchiveHeader.Config? {
    configs.first { $0.name == Array(name.utf8) }
  }

  /// The devices that a user means; all of them by default.
  ///
  /// - Throws: status 66 for one that does not exist.
  package func devices(named names: [String], in archive: String) throws -> [ArchiveHeader.Device] {
    guard !names.isEmpty else { return devices }
    let ids = try names.map { try requireDevice(named: $0, in: archive).id }
    return devices.filter { ids.contains($0.id) }
  }

  /// - Throws: status 66 if it does not exist.
  package func requireDevice(named name: String, in archive: String) throws -> ArchiveHeader.Device
  {
    guard let device = device(named: name) else {
      let list = devices.isEmpty ? "none" : Self.list(devices.map(\.name))
      throw Failure(.noInput, "\(archive): no such drive: \(name) (available: \(list))")
    }
    return device
  }
}
