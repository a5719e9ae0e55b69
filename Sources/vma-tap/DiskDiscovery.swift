// SPDX-License-Identifier: Apache-2.0

import System
import VMA

/// A disk of QEMU.
struct Disk: Sendable {
  /// QEMU's name for it: the ID of a drive, or the name of a node.
  var device: String
  /// All names that select it.
  var aliases: [String]
  /// Its size in bytes, as the guest sees it.
  var size: UInt64
  var isReadOnly: Bool
  /// Its name in the archive.
  var name: String
}

/// The disks of a machine, as its monitor reports them.
struct DiskDiscovery {
  private struct Block: Decodable {
    var device: String
    var qdev: String?
    /// Missing if the drive is empty.
    var inserted: BlockNode?
  }

  private struct Export: Decodable {
    var nodeName: String
    enum CodingKeys: String, CodingKey { case nodeName = "node-name" }
  }

  /// The disks that a backup includes by default, and read-only ones.
  let disks: [Disk]
  private let nodes: [Disk]

  init(_ client: QMPClient, _ named: [BlockNode]) throws {
    let blocks = try client.execute("query-block", returning: [Block].self)
    nodes = named.compactMap { node in
      node.name.map { Disk($0, aliases: [], node) }
    }
    let attached = blocks.compactMap { block -> Disk? in
      guard let node = block.inserted else { return nil }
      let nodeName = node.name ?? ""
      let device = block.device.isEmpty ? nodeName : block.device
      guard !device.isEmpty else { return nil }
      return Disk(device, aliases: [nodeName, Self.bus(of: block.qdev)], node)
    }
    if !blocks.isEmpty {
      disks = attached
    } else {
      // qemu-storage-daemon has no guest; its clients write to what it exports.
      let exports = try client.execute("query-block-exports", returning: [Export].self)
      disks = Set(exports.map(\.nodeName)).sorted().compactMap { [nodes] name in
        nodes.first { $0.device == name }
      }
    }
  }

  /// `/machine/peripheral/scsi0/virtio-backend` is the device with the ID `scsi0`.
  private static func bus(of qdev: String?) -> String {
    let words = (qdev ?? "").split(separator: "/").map(String.init)
    guard let place = words.firstIndex(of: "peripheral"), place + 1 < words.count else {
      return words.count == 1 ? words[0] : ""
    }
    return words[place + 1]
  }

  /// The selected disks, `DEVICE` or `DEVICE=NAME` each; by default all writable ones.
  func select(_ arguments: [String]) throws -> [Disk] {
    // The node that a running job added above an exported one, with a name that QEMU generated, or
    // that a run with scratch files added below a device.
    if arguments.isEmpty,
      disks.contains(where: { $0.device.hasPrefix("#") || $0.device.hasPrefix(Jobs.family) })
    {
      throw Failure(.noInput, "a QEMU job is using a disk (name the disks with -d)")
    }
    let selected =
      arguments.isEmpty ? disks.filter { !$0.isReadOnly } : try arguments.map(find)
    guard !selected.isEmpty else {
      throw Failure(.noInput, "QEMU has no writable guest disk (name one with -d)")
    }
    guard selected.count <= VMAFormat.deviceIDs.count else {
      throw Failure(.usage, "at most \(VMAFormat.deviceIDs.count) disks are allowed")
    }
    var names: Set<String> = []
    var devices: Set<String> = []
    for disk in selected {
      guard names.insert(disk.name).inserted else {
        throw Failure(.usage, "duplicate disk name: \(disk.name)")
      }
      guard devices.insert(disk.device).inserted else {
        throw Failure(.usage, "\(disk.device) is named twice")
      }
      guard disk.size > 0, disk.size.isMultiple(of: UInt64(VMAFormat.sectorSize)),
        disk.size <= VMAFormat.maximumDeviceSize
      else {
        throw Failure(
          .badData, "\(disk.device): an archive cannot contain a disk of \(disk.size) bytes")
      }
    }
    return selected
  }

  private func find(_ argument: String) throws -> Disk {
    // A name in QEMU may contain `=`; then it is only found by comparing.
    if let disk = find(exactly: argument) { return disk }
    guard let split = argument.lastIndex(of: "="), split != argument.startIndex else {
      throw missing(argument)
    }
    let device = String(argument[..<split])
    guard var disk = find(exactly: device) else { throw missing(device) }
    disk.name = String(argument[argument.index(after: split)...])
    guard !disk.name.isEmpty, !disk.name.utf8.contains(0), disk.name.utf8.count < 65535 else {
      throw Failure(.usage, "-d: '\(argument)' is not DEVICE or DEVICE=NAME")
    }
    return disk
  }

  private func find(exactly name: String) -> Disk? {
    guard !name.isEmpty else { return nil }
    var found =
      disks.first { $0.device == name } ?? disks.first { $0.aliases.contains(name) }
      ?? nodes.first { $0.device == name } ?? disks.first { $0.device == "drive-" + name }
    if let disk = found, disk.device != "drive-" + name { found?.name = Disk.name(for: name) }
    return found
  }

  private func missing(_ name: String) -> Failure {
    let list = disks.map(\.device).joined(separator: ", ")
    return Failure(
      .noInput, "no such disk: \(name) (available: \(list.isEmpty ? "none" : list))")
  }
}

extension Disk {
  fileprivate init(_ device: String, aliases: [String], _ node: BlockNode) {
    self.device = device
    self.aliases = aliases.filter { !$0.isEmpty }
    size = node.image.virtualSize
    isReadOnly = node.isReadOnly
    // A node may have any name; that of the guest's bus is more informative.
    let bus = self.aliases.first { Self.isBusName($0) }
    name = Self.name(
      for: Self.isBusName(device) || device.hasPrefix("drive-") ? device : bus ?? device)
  }

  /// The configuration of Proxmox VE contains `scsi0`, its archives `drive-scsi0`.
  fileprivate static func name(for device: String) -> String {
    isBusName(device) ? "drive-" + device : device
  }

  private static func isBusName(_ name: String) -> Bool {
    let kinds = ["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"]
    return kinds.contains { kind in
      let number = name.dropFirst(kind.count)
      return name.hasPrefix(kind) && !number.isEmpty && number.utf8.allSatisfy { (48...57) ~= $0 }
    }
  }
}
