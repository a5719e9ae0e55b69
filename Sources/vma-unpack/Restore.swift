// SPDX-License-Identifier: Apache-2.0

import Archives
import Command
import Compression
import Disks
import Files
import NBD
import System
import VMA

/// Restores the members of an archive, each piece of a disk directly to its destination.
final class Restore {
  let options: RestoreOptions
  let input: Input
  let reader: ArchiveReader
  let devices: [ArchiveHeader.Device]
  var targets: [UInt8: any DiskTarget] = [:]
  /// Targets that are overwritten in place, as the user named them.
  private(set) var inPlace: [UInt8: String] = [:]
  var files: [UInt8: PendingFile] = [:]
  private(set) var configs: [PendingFile] = []
  /// The additional names that `--salvage` may use.
  private(set) var salvageNames = SalvageNames(
    taken: [], unmapped: [], mapped: [], unprovenConfigs: [])
  /// Drives that could not be written, and why; only `--salvage` continues without them.
  private(set) var failures: [UInt8: Failure] = [:]
  /// Those of them whose targets were changed.
  private(set) var changed: Set<UInt8> = []
  private var dataSize: UInt64 = 0

  init(_ options: RestoreOptions, _ input: Input, _ reader: ArchiveReader) throws {
    self.options = options
    self.input = input
    self.reader = reader
    devices = try reader.header.devices(named: options.drives, in: input.name)
    reader.checkedDevices = devices
  }

  func run() throws {
    if let size = input.size, !options.salvages {
      try reader.checkLength(size: size, devices: devices)
    }
    let maps = try mappedPaths()
    try openTargets(maps)
    if options.salvages { return try salvage() }
    do {
      try copy(reader)
      try reader.requireComplete(devices)
      try finish(reader.census)
      try PendingFile.commit(configs + devices.compactMap { files[$0.id] })
      if options.printsSummary { summarize(reader.census) }
    } catch let failure as Failure {
      let changed = inPlace.filter { targets[$0.key]?.hasChanged ?? false }.values.sorted()
      guard !changed.isEmpty else { throw failure }
      throw Failure(
        failure.status,
        "\(failure.message); \(changed.joined(separator: ", ")) "
          + "\(changed.count == 1 ? "is" : "are") incomplete (partly written)")
    }
  }

  // MARK: Before anything is written

  private func mappedPaths() throws -> [UInt8: String] {
    var paths: [UInt8: String] = [:]
    for (drive, path) in options.targets {
      let device = try reader.header.requireDevice(named: drive, in: input.name)
      guard devices.contains(device) else {
        throw Failure(.usage, "--map: \(drive) is not selected by --drive")
      }
      guard paths.updateValue(path, forKey: device.id) == nil else {
        throw Failure(.usage, "\(drive): is mapped twice")
      }
    }
    return paths
  }

  private func openTargets(_ maps: [UInt8: String]) throws {
    let unmapped = devices.filter { maps[$0.id] == nil }
    let selectedConfigs = options.restoresConfigs ? reader.header.configs : []
    let isProven = reader.headerFault == nil
    let names =
      isProven ? selectedConfigs.map(OutputName.init) + unmapped.map(OutputName.init) : []
    try OutputName.check(names, archive: input.name)
    if options.salvages {
      salvageNames = SalvageNames(
        taken: names, unmapped: unmapped, mapped: options.mapDirectory == nil ? [] : devices,
        unprovenConfigs: isProven ? [] : selectedConfigs)
    }
    let partialNames =
      unmapped.compactMap { salvageNames.partial[$0.id] } + salvageNames.configs

    // All paths are checked first: nothing is opened if another target cannot be, and an NBD server
    // that accepts only one client would keep a second one waiting.
    var exports: [UInt8: NBDTarget.Export] = [:]
    var places: [UInt8: InPlaceTarget.Place] = [:]
    for device in devices {
      guard let path = maps[device.id] else { continue }
      if NBDURI.matches(path) {
        exports[device.id] = try NBDTarget.Export(path)
      } else {
        places[device.id] = try InPlaceTarget.Place(path)
      }
    }
    for device in devices {
      inPlace[device.id] = maps[device.id]
      if let export = exports[device.id] {
        targets[device.id] = try NBDTarget(
          export, size: device.size, isZero: options.targetIsZero)
      } else if let place = places[device.id] {
        targets[device.id] = try InPlaceTarget(
          place, size: device.size, force: options.replaces, isZero: options.targetIsZero)
      }
    }

    guard !unmapped.isEmpty || !selectedConfigs.isEmpty else { return }
    let directory = try OutputDirectory(options.directory)
    for name in names + partialNames { try directory.check(name.path, replaces: options.replaces) }
    for device in unmapped {
      let name = isProven ? OutputName(device) : salvageNames.partial[device.id]
      guard let name else { continue }
      let file = try directory.file(name.path, replaces: options.replaces)
      files[device.id] = file
      // A claim of a damaged header must not prevent the other disks from being restored.
      let isSure = !device.isVMState && !options.salvages
      targets[device.id] = try SparseFile(file, size: isSure ? device.size : nil)
    }
    let configNames = isProven ? selectedConfigs.map(OutputName.init) : salvageNames.configs
    for (config, name) in zip(selectedConfigs, configNames) {
      let file = try directory.file(name.path, replaces: options.replaces)
      try file.descriptor.write(config.data)
      configs.append(file)
    }
  }

  // MARK: The data

  func copy(_ source: some ExtentSource) throws {
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
        try attempt(piece.device) {
          if let position = piece.position {
            try target.write(
              extent.buffer, position..<position + Int(length), at: piece.offset)
            dataSize += length
          } else {
            try target.zero(piece.offset..<piece.offset + length)
          }
        }
      }
      source.recycle(extent)
    }
  }

  private func finish(_ census: ClusterCensus) throws {
    for device in devices {
      try targets[device.id]?.finish(length: census.length(of: device))
    }
  }

  /// Does something for one drive. When salvaging, a failure stops only this drive.
  func attempt(_ device: UInt8, _ work: () throws -> Void) throws {
    do {
      try work()
    } catch let failure as Failure where options.salvages {
      failures[device] = failure
      if targets[device]?.hasChanged ?? false { changed.insert(device) }
      targets[device] = nil
      files[device] = nil
    }
  }

  func summarize(_ census: ClusterCensus) {
    let devices = devices.filter { failures[$0.id] == nil }
    let size = devices.reduce(0) { $0 + census.length(of: $1) }
    let clusters = devices.reduce(0) { $0 + census.count(of: $1) }
    let zeroShare = size == 0 ? 0 : Int(Double(size - min(size, dataSize)) / Double(size) * 100)
    Console.error(
      "\(Counted(devices.count, "drive")), \(ByteCount(size)) in "
        + "\(Counted(clusters, "cluster")), \(zeroShare) % zero; \(ByteCount(dataSize)) written, "
        + Progress.current.rate(of: size))
  }
}
