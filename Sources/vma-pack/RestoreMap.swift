// SPDX-License-Identifier: Apache-2.0

import FilterIO

/// What `qmrestore` wants of a `qemu-server.conf`: its map lines match the devices one to one.
enum RestoreMap {
  /// The config with a map line for each device.
  ///
  /// - Parameters:
  ///   - content: of the `qemu-server.conf`.
  ///   - devices: names, without `vmstate`.
  /// - Throws: status 65 for what could not be restored.
  static func complete(_ content: [UInt8], for devices: [String]) throws -> [UInt8] {
    var config = try ServerConfig(content)
    let disks = config.disks
    var deviceOfDisk: [String: String] = [:]
    var mapped: Set<String> = []
    for map in config.mapLines {
      guard deviceOfDisk.updateValue(map.device, forKey: map.disk) == nil else {
        throw ServerConfig.refusal("\(map.disk) is mapped twice")
      }
      guard mapped.insert(map.device).inserted else {
        throw ServerConfig.refusal("\(map.device) is mapped twice")
      }
    }

    for device in devices {
      guard !device.contains(where: { $0 == ":" || $0.isWhitespace }) else {
        throw ServerConfig.refusal("the name '\(device)' has a blank or a colon")
      }
      if mapped.contains(device) { continue }
      guard let disk = disk(of: device), disks.contains(disk) else {
        throw ServerConfig.refusal(
          "no disk belongs to \(device); name it drive- and the name of a disk line")
      }
      guard deviceOfDisk.updateValue(device, forKey: disk) == nil else {
        throw ServerConfig.refusal("\(disk) is mapped to another drive than \(device)")
      }
      config.add(.init(disk: disk, device: device, storage: "", format: "raw"))
    }
    for (disk, device) in deviceOfDisk.sorted(by: { $0.key < $1.key }) {
      guard devices.contains(device) else {
        throw ServerConfig.refusal("\(disk) is mapped to \(device), which is not packed")
      }
      guard disks.contains(disk) else {
        throw ServerConfig.refusal("\(disk) is mapped, but has no line")
      }
      guard disk != "tpmstate0" || device == "drive-tpmstate0-backup" else {
        throw ServerConfig.refusal("the drive of tpmstate0 must be called drive-tpmstate0-backup")
      }
    }
    return config.content()
  }

  private static func disk(of device: String) -> String? {
    guard device.hasPrefix("drive-") else { return nil }
    let disk = String(device.dropFirst("drive-".count))
    return disk == "tpmstate0-backup" ? "tpmstate0" : disk
  }
}
