// SPDX-License-Identifier: Apache-2.0

import Archives
import Command
import Compression
import Disks
import Files
import System
import VMA

/// `--salvage`: restores what a damaged archive still contains, and reports the rest.
extension Restore {
  func salvage() throws {
    let salvager = try SalvageReader(reader, log: input.log)
    // Opened now, so that a directory that cannot be written stops the run before it begins.
    let directory = try options.mapDirectory.map { try OutputDirectory($0) }
    var mapFiles: [UInt8: PendingFile] = [:]
    for (device, name) in salvageNames.map {
      mapFiles[device] = try directory?.file(name.path, replaces: options.replaces)
    }

    salvager.readBack = { [unowned self] device, buffer, range, offset in
      try targets[device]?.read(into: buffer, range, at: offset) ?? false
    }
    try copy(salvager)

    var losses: [String] = []
    for device in devices where failures[device.id] == nil {
      let map = LostMap(device, salvager)
      try attempt(device.id) {
        try targets[device.id]?.finish(length: salvager.census.length(of: device))
        try commit(device, map, mapFiles[device.id])
        if let loss = describe(device, map) { losses.append(loss) }
      }
    }
    try PendingFile.commit(configs)
    if options.printsSummary { summarize(salvager.census) }
    try report(salvager, losses)
  }

  /// Gives a drive its name, one with a suffix if not all of it is proven, and writes its map.
  private func commit(_ device: ArchiveHeader.Device, _ map: LostMap, _ mapFile: PendingFile?)
    throws
  {
    var pending: [PendingFile] = []
    if let file = files[device.id] {
      let partial = salvageNames.partial[device.id]
      pending.append(map.isRight ? file : partial.map { file.renamed($0.path) } ?? file)
    }
    if let mapFile {
      try map.write(to: mapFile.descriptor)
      pending.append(mapFile)
    }
    try PendingFile.commit(pending)
  }

  private func describe(_ device: ArchiveHeader.Device, _ map: LostMap) -> String? {
    guard !map.isRight else { return nil }
    var parts: [String] = []
    if map.lostBytes > 0 { parts.append("\(ByteCount(map.lostBytes)) lost") }
    if map.unprovenBytes > 0 { parts.append("\(ByteCount(map.unprovenBytes)) unproven") }
    return "\(ArchiveHeader.list([device.name])): " + parts.joined(separator: " and ")
  }

  /// Reports the result, unless there was no fault.
  private func report(_ salvager: SalvageReader, _ losses: [String]) throws {
    let failed = devices.compactMap { device -> (message: String, failure: Failure)? in
      guard let failure = failures[device.id] else { return nil }
      let name = ArchiveHeader.list([device.name])
      let hasChanged = changed.contains(device.id)
      let state =
        inPlace[device.id].map {
          "\($0) is \(hasChanged ? "incomplete (partly written)" : "unchanged")"
        }
        ?? "not restored"
      return ("\(name): \(state): \(failure.message)", failure)
    }
    let isDamaged = salvager.faultCount > 0 || !losses.isEmpty
    guard isDamaged || !failed.isEmpty else { return }

    var message = "\(input.name): salvaged"
    if isDamaged {
      message += ", but \(salvager.firstFault ?? "clusters are missing")"
      if salvager.faultCount > 1 {
        let rest = salvager.faultCount - 1
        message += " and \(Counted(rest, "more fault"))"
      }
    }
    let details = losses + failed.map(\.message)
    message += "; " + (details.isEmpty ? "no data is lost" : details.joined(separator: ", "))
    throw Failure(isDamaged ? .badData : failed[0].failure.status, message)
  }
}
