// SPDX-License-Identifier: Apache-2.0

import System
import VMA

/// A disk that QEMU has.
struct Disk: Sendable {
  /// What QEMU calls it: the id of a drive, or the name of a node.
  var device: String
  /// All names by which it can be asked for.
  var aliases: [String]
  /// Bytes of it, as the guest sees them.
  var size: UInt64
  var isReadOnly: Bool
  /// What it is called in the archive.
  var name: String
}

/// The disks of a machine, as its monitor tells them.
struct DiskDiscovery {
  private struct Block: Decodable {
    var device: String
    var qdev: String?
    /// Not there where the drive is empty.
    var inserted: BlockNode?
  }

  private struct Export: Decodable {
    var nodeName: String
    enum CodingKeys: String, CodingKey { case nodeName = "node-name" }
  }

  /// The disks that a backup of all takes, and read-only ones.
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
      // qemu-storage-daemon has no guest; what it exports is what somebody writes to.
      let exports = try client.execute("query-block-exports", returning: [Export].self)
      disks = Set(exports.map(\.nodeName)).sorted().compactMap { [nodes] name in
        nodes.first { $0.device == name }
      }
    }
  }

  /// `/machine/peripheral/scsi0/virtio-backend` is the device with the id `scsi0`.
  private static func bus(of qdev: String?) -> String {
    let words = (qdev ?? "").split(separator: "/").map(String.init)
    guard let place = words.firstIndex(of: "peripheral"), place + 1 < words.count else {
      return words.count == 1 ? words[0] : ""
    }
    return words[place + 1]
  }

  /// The disks that were asked for, `DEVICE` or `DEVICE=NAME` each; all writable ones where none
  /// was.
  func select(_ arguments: [String]) throws -> [Disk] {
    // The node that a running job has put above an exported one, with a name of QEMU's making, or
    // that a run with scratch files has put below a device.
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
    // A name of QEMU's can have a `=` in it; then it is told by being there.
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
    // A node may have any name; that of the guest's bus says more.
    let bus = self.aliases.first { Self.isBusName($0) }
    name = Self.name(
      for: Self.isBusName(device) || device.hasPrefix("drive-") ? device : bus ?? device)
  }

  /// Proxmox VE's configurations say `scsi0` where its archives say `drive-scsi0`.
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
