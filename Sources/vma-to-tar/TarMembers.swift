// SPDX-License-Identifier: Apache-2.0

import FilterIO
import VMA

/// The members of the tar in their order: configs, disks, the state of the machine.
struct TarMembers {
  struct Disk {
    var name: [UInt8]
    var device: Device
  }

  private(set) var configs: [(name: [UInt8], content: [UInt8])] = []
  private(set) var disks: [Disk] = []

  /// - Throws: 66 for a drive that is not there, 65 for a name that no file can have, 64 for what
  ///   the layout cannot hold.
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

  /// What `qmrestore` takes: `qemu-server.conf`, whose `#qmdump#map` lines become `#vzdump#map`
  /// lines that name the members, and a plain member for each disk.
  private mutating func takeForRestore(_ header: ArchiveHeader, archive: String) throws {
    guard let config = header.config(named: "qemu-server.conf") else {
      throw Failure(.usage, "\(archive): --layout pve needs a config qemu-server.conf")
    }
    let mark = "#qmdump#map:"
    var memberOfDevice: [String: String] = [:]
    var lines: [String] = []
    for line in String(decoding: config.data, as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false)
    {
      guard line.hasPrefix(mark) else {
        lines.append(String(line))
        continue
      }
      // disk, device, storage, format
      let fields = line.dropFirst(mark.count)
        .split(separator: ":", omittingEmptySubsequences: false).map(String.init)
      guard fields.count >= 3,
        let device = header.devices.first(where: { $0.name == Array(fields[1].utf8) })
      else { throw Failure(.badData, "\(archive): bad map line '\(line)'") }
      let member = "vm-disk-\(fields[0]).raw"
      guard memberOfDevice.updateValue(member, forKey: fields[1]) == nil else {
        throw Failure(.badData, "\(archive): \(fields[1]) has two map lines")
      }
      lines.append("#vzdump#map:\(fields[0]):\(member):\(device.size):\(fields[2]):")
    }
    configs = [(config.name, Array(lines.joined(separator: "\n").utf8))]
    for device in header.devices where !device.isVMState {
      let name = String(decoding: device.name, as: UTF8.self)
      guard let member = memberOfDevice[name] else {
        throw Failure(.usage, "\(archive): \(name) has no map line in qemu-server.conf")
      }
      disks.append(Disk(name: Array(member.utf8), device: device))
    }
    try OutputName.check(disks.map { OutputName(memberName: $0.name) }, archive: archive)

    let left =
      header.configs.filter { $0 != config }.map(\.name)
      + header.devices.filter(\.isVMState).map(\.name)
    if !left.isEmpty {
      let names = left.map { String(decoding: $0, as: UTF8.self) }.joined(separator: ", ")
      Console.warn("\(archive): left out: \(names)")
    }
  }
}
