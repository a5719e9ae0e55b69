// SPDX-License-Identifier: Apache-2.0

import FilterIO

/// The lines of a `qemu-server.conf` that tie a machine's disks to the devices of an archive;
/// `qmrestore` wants them to match one to one.
struct RestoreMap {
  /// Before the first `[section]`: what is behind it describes snapshots.
  private let head: [Substring]
  private let tail: [Substring]
  private static let mark = "#qmdump#map:"

  init(_ content: [UInt8]) {
    var lines = String(decoding: content, as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false)
    if lines.last == "" { lines.removeLast() }
    let end = lines.firstIndex { $0.hasPrefix("[") } ?? lines.count
    head = Array(lines[..<end])
    tail = Array(lines[end...])
  }

  /// The config with a map line for each device.
  ///
  /// - Parameter devices: names, without `vmstate`.
  /// - Throws: status 65 for what could not be restored.
  func completed(for devices: [String]) throws -> [UInt8] {
    func refuse(_ why: String) -> Failure { Failure(.badData, "qemu-server.conf: \(why)") }
    let disks = Set(head.compactMap(Self.disk(ofLine:)))
    var deviceOfDisk: [Substring: Substring] = [:]
    var mapped: Set<Substring> = []
    for line in head where line.hasPrefix(Self.mark) {
      let fields = line.dropFirst(Self.mark.count)
        .split(separator: ":", omittingEmptySubsequences: false)
      guard fields.count >= 2 else { throw refuse("bad line '\(line)'") }
      guard deviceOfDisk.updateValue(fields[1], forKey: fields[0]) == nil else {
        throw refuse("\(fields[0]) is mapped twice")
      }
      guard mapped.insert(fields[1]).inserted else { throw refuse("\(fields[1]) is mapped twice") }
    }

    var lines = head
    for device in devices {
      guard !device.contains(where: { $0 == ":" || $0.isWhitespace }) else {
        throw refuse("the name '\(device)' has a blank or a colon")
      }
      if mapped.contains(device[...]) { continue }
      guard let disk = Self.disk(ofDevice: device), disks.contains(disk) else {
        throw refuse("no disk belongs to \(device); name it drive- and the name of a disk line")
      }
      guard deviceOfDisk.updateValue(device[...], forKey: disk) == nil else {
        throw refuse("\(disk) is mapped to another drive than \(device)")
      }
      lines.append("\(Self.mark)\(disk):\(device)::raw:")
    }
    for (disk, device) in deviceOfDisk.sorted(by: { $0.key < $1.key }) {
      guard devices.contains(String(device)) else {
        throw refuse("\(disk) is mapped to \(device), which is not packed")
      }
      guard disks.contains(disk) else { throw refuse("\(disk) is mapped, but has no line") }
      guard disk != "tpmstate0" || device == "drive-tpmstate0-backup" else {
        throw refuse("the drive of tpmstate0 must be called drive-tpmstate0-backup")
      }
    }
    return Array((lines + tail).map { $0 + "\n" }.joined().utf8)
  }

  /// `scsi0` of the line `scsi0: local-lvm:vm-101-disk-0,size=32G`.
  private static func disk(ofLine line: Substring) -> Substring? {
    guard let colon = line.firstIndex(of: ":") else { return nil }
    let disk = line[..<colon]
    return isDisk(disk) ? disk : nil
  }

  private static func disk(ofDevice device: String) -> Substring? {
    guard device.hasPrefix("drive-") else { return nil }
    let disk = device.dropFirst("drive-".count)
    return disk == "tpmstate0-backup" ? "tpmstate0" : disk
  }

  private static func isDisk(_ name: Substring) -> Bool {
    ["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"].contains { bus in
      name.hasPrefix(bus) && name.count > bus.count
        && name.dropFirst(bus.count).utf8.allSatisfy { (48...57).contains($0) }
    }
  }
}
