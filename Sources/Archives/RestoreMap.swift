// SPDX-License-Identifier: Apache-2.0

import System
package import VMA

/// What `qmrestore` needs to restore an archive: the map lines of `qemu-server.conf` match the
/// devices one to one, and there is something to restore.
package enum RestoreMap {
  /// The config with a map line for each device.
  ///
  /// - Parameters:
  ///   - content: of the `qemu-server.conf`.
  ///   - devices: of the archive.
  ///   - warn: is called if the restored VM may differ from what the user expects.
  /// - Throws: status 65 for what could not be restored.
  package static func complete(
    _ content: [UInt8], for devices: [ArchiveHeader.Device], warn: (String) -> Void = { _ in }
  ) throws -> [UInt8] {
    let disks = devices.filter { !$0.isVMState }
    // The reference tool divides by the clusters of all disks to show its progress.
    let cluster = UInt64(VMAFormat.clusterSize)
    guard devices.isEmpty || disks.reduce(0, { $0 + min($1.size, cluster) }) >= cluster else {
      throw Failure(
        .badData,
        disks.isEmpty
          ? "qmrestore cannot restore vmstate without a disk"
          : "qmrestore cannot restore disks of less than 64 KiB in total")
    }

    var config = try ServerConfig(content)
    let values = config.disks
    let names = disks.map { String(decoding: $0.name, as: UTF8.self) }
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

    for name in names {
      guard !name.unicodeScalars.contains(where: { $0 == ":" || $0.properties.isWhitespace }) else {
        throw ServerConfig.refusal("the name '\(name)' contains a space or a colon")
      }
      if mapped.contains(name) { continue }
      guard let disk = disk(of: name), values[disk] != nil else {
        throw ServerConfig.refusal(
          "no line for the disk \(name) (the line 'X: ...' is for a disk named drive-X)")
      }
      guard deviceOfDisk.updateValue(name, forKey: disk) == nil else {
        throw ServerConfig.refusal("\(disk) is mapped to a drive other than \(name)")
      }
      config.add(.init(disk: disk, device: name, storage: "", format: "raw"))
    }
    for (disk, device) in deviceOfDisk.sorted(by: { $0.key < $1.key }) {
      guard names.contains(device) else {
        throw ServerConfig.refusal("\(disk) is mapped to \(device), which is not packed")
      }
      guard let value = values[disk] else {
        throw ServerConfig.refusal("\(disk) is mapped, but has no disk line")
      }
      guard disk != "tpmstate0" || device == "drive-tpmstate0-backup" else {
        throw ServerConfig.refusal("the drive of tpmstate0 must be called drive-tpmstate0-backup")
      }
      if ServerConfig.isExcludedFromBackup(value) {
        warn(
          "qemu-server.conf: \(disk) has backup=0; qmrestore restores the disk and disables its "
            + "line (remove backup=0)")
      }
    }
    if let omission = config.omission { warn(omission) }
    return config.content()
  }

  private static func disk(of device: String) -> String? {
    guard device.hasPrefix("drive-") else { return nil }
    let disk = String(device.dropFirst("drive-".count))
    return disk == "tpmstate0-backup" ? "tpmstate0" : disk
  }

  /// Why `qmrestore` would not accept the name of an archive; nil if it would. It determines the
  /// type and compression of an archive only from its name.
  ///
  /// - Parameter isCompressed: whether the archive is compressed with zstd.
  package static func fault(ofName name: String, isCompressed: Bool) -> String? {
    let suffix = isCompressed ? ".vma.zst" : ".vma"
    let start = "vzdump-qemu-"
    guard name.hasPrefix(start), name.hasSuffix(suffix),
      name.utf8.count > start.utf8.count + suffix.utf8.count
    else { return "qmrestore needs a file name like vzdump-qemu-NAME\(suffix)" }
    return nil
  }
}
