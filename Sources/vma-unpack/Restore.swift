// SPDX-License-Identifier: Apache-2.0

import Decompression
import FilterIO
import NBD
import VMA

/// Writes the members of an archive where they belong, each piece of a disk straight to its place.
final class Restore {
  private let options: VMAUnpack
  private let input: Input
  private let reader: ArchiveReader
  private let devices: [Device]
  private var targets: [UInt8: any DiskTarget] = [:]
  /// Targets that are overwritten where they are, in the words of the user.
  private var inPlace: [UInt8: String] = [:]
  private var files: [UInt8: (name: OutputName, file: PendingFile)] = [:]
  private var configs: [PendingFile] = []
  private var hasWritten = false
  private var dataSize: UInt64 = 0

  init(_ options: VMAUnpack, _ input: Input, _ reader: ArchiveReader) throws {
    self.options = options
    self.input = input
    self.reader = reader
    devices = try reader.header.devices(named: options.drive, in: input.name)
  }

  func run() throws {
    if let file = input.file, !options.salvage {
      try reader.checkLength(fileSize: try file.size(), devices: devices)
    }
    let maps = try mappedPaths()
    try openTargets(maps)
    do {
      if options.salvage {
        try salvage()
      } else {
        try copy(reader)
        try reader.census.requireComplete(devices, in: input.name)
        try finish(reader.census)
        try commit(whole: devices)
        if options.common.verbose { summarize(reader.census) }
      }
    } catch let failure as Failure where hasWritten && !inPlace.isEmpty {
      let targets = inPlace.values.sorted().joined(separator: ", ")
      throw Failure(
        failure.status,
        "\(failure.message); \(targets) \(inPlace.count == 1 ? "is" : "are") half written")
    }
  }

  // MARK: Before anything is written

  private func mappedPaths() throws -> [UInt8: String] {
    var paths: [UInt8: String] = [:]
    for argument in options.map {
      let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
        throw Failure(.usage, "--map takes DRIVE=PATH, not '\(argument)'")
      }
      let device = try reader.header.requireDevice(named: String(parts[0]), in: input.name)
      guard devices.contains(device) else {
        throw Failure(.usage, "--map: \(parts[0]) is not among the drives of --drive")
      }
      guard paths.updateValue(String(parts[1]), forKey: device.id) == nil else {
        throw Failure(.usage, "--map: \(parts[0]) is mapped twice")
      }
    }
    return paths
  }

  private func openTargets(_ maps: [UInt8: String]) throws {
    let unmapped = devices.filter { maps[$0.id] == nil }
    let selectedConfigs = options.noConfigs ? [] : reader.header.configs
    let names = selectedConfigs.map(OutputName.init) + unmapped.map(OutputName.init)
    let mapNames = options.lost == nil ? [] : devices.map(Self.mapName)
    let partialNames = options.salvage ? unmapped.map { OutputName($0).appending(".partial") } : []
    try OutputName.check(names + partialNames + mapNames, archive: input.name)

    // All of them first: nothing is opened while another target cannot be, and an NBD server that
    // takes one client only would keep a second one waiting.
    var exports: Set<String> = []
    var identities: [[UInt64]] = []
    if let file = input.file { identities.append(try file.status().identity) }
    for device in devices {
      guard let path = maps[device.id] else { continue }
      if NBDURI.matches(path) {
        guard exports.insert(path).inserted else {
          throw Failure(.usage, "\(path): is another drive's target")
        }
        continue
      }
      let identity = try InPlaceTarget.status(of: path).identity
      guard !identities.contains(identity) else {
        throw Failure(.usage, "\(path): is another drive's target, or the archive itself")
      }
      identities.append(identity)
    }
    for device in devices {
      guard let path = maps[device.id] else { continue }
      targets[device.id] =
        NBDURI.matches(path)
        ? try NBDTarget(path, size: device.size)
        : try InPlaceTarget(path, size: device.size, force: options.force)
      inPlace[device.id] = path
    }

    guard !names.isEmpty else { return }
    let directory = try OutputDirectory(options.directory)
    for name in names + partialNames {
      // A file that is replaced must not be one that is read or written.
      if let there = try directory.check(name, replaces: options.force),
        identities.contains(there.identity)
      {
        throw Failure(.usage, "\(name.text): is a drive's target, or the archive itself")
      }
    }
    for device in unmapped {
      let name = OutputName(device)
      let file = try directory.file(name, replaces: options.force)
      files[device.id] = (name, file)
      targets[device.id] = SparseFile(file)
    }
    for config in selectedConfigs {
      let file = try directory.file(OutputName(config), replaces: options.force)
      try file.descriptor.write(config.data)
      configs.append(file)
    }
  }

  // MARK: The data

  private func copy(_ source: some ExtentSource) throws {
    let sizes = Dictionary(
      uniqueKeysWithValues: devices.map { device in
        (device.id, device.isVMState ? UInt64.max : device.size)
      })
    while let extent = try source.next() {
      try extent.header.forEachPiece { piece in
        guard let target = targets[piece.device], let size = sizes[piece.device],
          piece.offset < size
        else { return }
        let length = min(UInt64(piece.length), size - piece.offset)
        hasWritten = true
        if let position = piece.position {
          try target.write(
            extent.buffer, position..<position + Int(length), at: piece.offset)
          dataSize += length
        } else {
          try target.zero(piece.offset..<piece.offset + length)
        }
      }
      source.recycle(extent)
    }
  }

  private func finish(_ census: ClusterCensus) throws {
    for device in devices {
      hasWritten = true
      try targets[device.id]?.finish(length: census.length(of: device))
    }
  }

  /// Gives all files their names; disks that are not whole get one that says so.
  private func commit(whole: [Device], and others: [PendingFile] = []) throws {
    let disks = devices.compactMap { device -> PendingFile? in
      guard let (name, file) = files[device.id] else { return nil }
      return whole.contains(device) ? file : file.renamed(name.appending(".partial").path)
    }
    try PendingFile.commit(configs + disks + others)
  }

  // MARK: Salvage

  private static func mapName(_ device: Device) -> OutputName {
    OutputName(device).replacingExtension(with: ".map")
  }

  private func salvage() throws {
    let salvager = try SalvageReader(reader)
    // Opened now, so that a directory that cannot be written stops the run before it begins.
    let maps = try options.lost.map { try OutputDirectory($0) }
    var mapFiles: [(device: Device, file: PendingFile)] = []
    if let maps {
      for device in devices {
        mapFiles.append((device, try maps.file(Self.mapName(device), replaces: options.force)))
      }
    }
    try copy(salvager)
    let census = salvager.census
    // A disk that cannot be finished (a size that the file system does not take) is no reason to
    // give up the others.
    var losses: [String] = []
    var kept: [Device] = []
    for device in devices {
      do {
        try targets[device.id]?.finish(length: census.length(of: device))
        kept.append(device)
      } catch let failure as Failure {
        losses.append(failure.message)
        files[device.id] = nil
      }
    }
    for (device, file) in mapFiles { try LostMap(device, census).write(to: file.descriptor) }
    try commit(whole: kept.filter(census.isComplete), and: mapFiles.map(\.file))
    if options.common.verbose { summarize(census) }

    for device in devices where !census.isComplete(device) {
      let missing = LostMap(device, census).lostBytes
      losses.append(
        "\(String(decoding: device.name, as: UTF8.self)): \(ByteCount(missing)) lost")
    }
    guard !losses.isEmpty || salvager.faultCount > 0 else { return }
    let fault = salvager.firstFault ?? "clusters are missing"
    throw Failure(
      .badData,
      "\(input.name): salvaged, but \(fault)"
        + (salvager.faultCount > 1 ? " and \(salvager.faultCount - 1) more faults" : "")
        + (losses.isEmpty ? "; no drive lost data" : "; " + losses.joined(separator: ", ")))
  }

  private func summarize(_ census: ClusterCensus) {
    let size = devices.reduce(0) { $0 + census.length(of: $1) }
    let clusters = devices.reduce(0) { $0 + census.count(of: $1) }
    let zeroShare = size == 0 ? 0 : Int(Double(size - min(size, dataSize)) / Double(size) * 100)
    Console.error(
      "\(devices.count) \(devices.count == 1 ? "drive" : "drives"), \(ByteCount(size)) in "
        + "\(clusters) clusters, \(zeroShare) % zero; \(ByteCount(dataSize)) written, "
        + Progress.current.rate(of: size))
  }
}
