// SPDX-License-Identifier: Apache-2.0

import Archives
import Command
import System
import VMA

/// The members of the tar in their order: configuration files, disks, the VM state.
struct TarMembers {
  struct Disk {
    var name: [UInt8]
    var device: ArchiveHeader.Device
  }

  private(set) var configs: [(name: [UInt8], content: [UInt8])] = []
  private(set) var disks: [Disk] = []

  /// - Throws: 66 for a drive that does not exist, 65 for an invalid file name, 64 for what the
  ///   layout cannot contain.
  init(
    _ header: ArchiveHeader, drives: [String], layout: Layout, prefix: String?, archive: String
  ) throws {
    switch layout {
    case .plain:
      let devices = try header.devices(named: drives, in: archive)
      let ordered = devices.filter { !$0.isVMState } + devices.filter(\.isVMState)
      try OutputName.check(
        header.configs.map(OutputName.init) + ordered.map(OutputName.init), archive: archive)
      let directory = prefix.map { Array(($0.hasSuffix("/") ? $0 : $0 + "/").utf8) } ?? []
      configs = header.configs.map { (directory + $0.name, $0.data) }
      disks = ordered.map { Disk(name: directory + OutputName($0).bytes, device: $0) }
    case .pve:
      try takeForRestore(header, archive: archive)
    }
  }

  /// The layout that `qmrestore` accepts: `qemu-server.conf`, whose `#qmdump#map` lines become
  /// `#vzdump#map` lines that name the members, and a plain member for each disk.
  private mutating func takeForRestore(_ header: ArchiveHeader, archive: String) throws {
    guard let config = header.config(named: "qemu-server.conf") else {
      throw Failure(
        .usage, "\(archive): --layout pve requires the configuration file qemu-server.conf")
    }
    let server = try ServerConfig(config.data)
    var memberOfDevice: [String: String] = [:]
    for map in server.mapLines {
      guard memberOfDevice.updateValue("vm-disk-\(map.disk).raw", forKey: map.device) == nil else {
        throw Failure(.badData, "\(archive): \(map.device) has two map lines")
      }
      guard header.devices.contains(where: { $0.name == Array(map.device.utf8) }) else {
        throw Failure(
          .badData, "\(archive): a map line names \(map.device), which is not in the archive")
      }
    }
    let content = server.content { map in
      let size = header.devices.first { $0.name == Array(map.device.utf8) }?.size ?? 0
      return "#vzdump#map:\(map.disk):vm-disk-\(map.disk).raw:\(size):\(map.storage):"
    }
    configs = [(config.name, content)]
    for device in header.devices where !device.isVMState {
      let name = String(decoding: device.name, as: UTF8.self)
      guard let member = memberOfDevice[name] else {
        throw Failure(
          .usage,
          "\(archive): \(name) has no map line in qemu-server.conf "
            + "(create the archive with vma-pack --pve)")
      }
      disks.append(Disk(name: Array(member.utf8), device: device))
    }
    try OutputName.check(disks.map { OutputName(memberName: $0.name) }, archive: archive)

    if let omission = server.omission { Console.warn("\(archive): \(omission)") }
    let left =
      header.configs.filter { $0 != config }.map(\.name)
      + header.devices.filter(\.isVMState).map(\.name)
    if !left.isEmpty {
      let names = left.map { String(decoding: $0, as: UTF8.self) }.joined(separator: ", ")
      Console.warn("\(archive): left out: \(names)")
    }
  }
}
