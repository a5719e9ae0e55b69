// SPDX-License-Identifier: Apache-2.0

import Archives
import VMA

extension Target {
  /// Extent headers and the census of clusters, against a set of pairs.
  public static let extents = Target(name: "extents") { input in
    var choices = Choices(input)
    var devices: [ArchiveHeader.Device] = []
    let salvages = choices.byte() % 2 == 1
    for _ in 0..<choices.byte() % 5 {
      let id = choices.byte()
      let name = choices.byte() % 4 == 0 ? VMAFormat.vmstateName : [UInt8(ascii: "d"), id]
      let device = ArchiveHeader.Device(id: id, name: name, size: choices.number())
      let isValid = try isAccepted(devices + [device])
      try require(
        isValid
          == ((1...254).contains(id) && !devices.contains { $0.id == id }
            && (1...1 << 48).contains(device.size) && (device.isVMState || device.size % 512 == 0)),
        "\(device): \(isValid)")
      if isValid { devices.append(device) }
    }
    _ = try? ClusterCensus.checkExtentBytes(.max, for: devices)
    var census = try ClusterCensus(devices, isSalvaging: salvages)
    var model = Model(devices: devices, salvages: salvages)
    let uuid = ArchiveHeader.UUID(0x0123_4567_89ab_cdef)

    while !choices.isEmpty {
      if choices.byte() == 255 {
        try checkRaw(choices.bytes(512), uuid)
        continue
      }
      var slots: [ExtentHeader.Slot] = []
      for _ in 0..<choices.byte() % 64 where !choices.isEmpty {
        let place = choices.byte()
        let id = place < 200 && !devices.isEmpty ? devices[Int(place) % devices.count].id : place
        slots.append(
          ExtentHeader.Slot(
            device: id, cluster: UInt32(truncatingIfNeeded: choices.number()),
            mask: choices.integer()))
      }
      let header: ExtentHeader
      do {
        header = try ExtentHeader(slots: slots)
      } catch {
        try require(
          slots.count > 59 || slots.contains { [0, 255].contains($0.device) }, "\(error)")
        continue
      }
      let bytes = header.serialized(uuid: uuid, digest: MD5.self)
      try require(bytes.count == VMAFormat.extentHeaderSize, "512 bytes")
      try require(ExtentHeader.resembles(bytes.span, uuid: uuid), "it resembles itself")
      try require(
        try ExtentHeader(parsing: bytes.span, uuid: uuid, digest: MD5.self) == header,
        "written and read again is the same")
      try checkPieces(of: header)
      for slot in slots {
        let isAccepted: Bool
        do {
          try census.record(slot, of: header)
          isAccepted = true
        } catch {
          _ = "\(error)"
          isAccepted = false
        }
        try require(isAccepted == model.accepts(slot), "\(slot): \(isAccepted)")
      }
    }
    try model.check(census)
  }

  private static func isAccepted(_ devices: [ArchiveHeader.Device]) throws -> Bool {
    do throws(FormatError) {
      _ = try ClusterCensus(devices)
      return true
    } catch {
      try require(error.code == .deviceID || error.code == .deviceSize, "\(error)")
      return false
    }
  }

  /// Any 512 bytes: if they are accepted, writing them results in the same slots.
  private static func checkRaw(_ bytes: [UInt8], _ uuid: ArchiveHeader.UUID) throws {
    var bytes = bytes + [UInt8](repeating: 0, count: 512 - bytes.count)
    bytes.replaceSubrange(0..<4, with: Array("VMAE".utf8))
    bytes.replaceSubrange(24..<40, with: repeatElement(0, count: 16))
    guard let header = try? ExtentHeader(parsing: bytes.span, uuid: uuid, digest: NoDigest.self)
    else { return }
    try require(header.blockCount <= VMAFormat.blocksPerExtent, "blocks")
    let written = header.serialized(uuid: uuid, digest: MD5.self)
    try require(
      try ExtentHeader(parsing: written.span, uuid: uuid, digest: MD5.self) == header,
      "read, written and read again is the same")
  }

  /// Pieces, split into blocks, are the blocks of the slots.
  private static func checkPieces(of header: ExtentHeader) throws {
    struct Block: Equatable {
      var device: UInt8
      var offset: UInt64
      var position: Int?
    }
    var expected: [Block] = []
    var position = 0
    for slot in header.slots {
      for block in 0..<16 {
        let isStored = slot.mask >> UInt16(block) & 1 == 1
        expected.append(
          Block(
            device: slot.device, offset: UInt64(slot.cluster) * 65536 + UInt64(block) * 4096,
            position: isStored ? position : nil))
        if isStored { position += 4096 }
      }
    }
    var found: [Block] = []
    header.forEachPiece { piece in
      for start in stride(from: 0, to: piece.length, by: 4096) {
        found.append(
          Block(
            device: piece.device, offset: piece.offset + UInt64(start),
            position: piece.position.map { $0 + start }))
      }
    }
    try require(found == expected, "pieces of \(header)")
    try require(position == header.dataSize, "the size of the data")
  }
}

/// A simple implementation of the census.
private struct Model {
  var devices: [ArchiveHeader.Device]
  var salvages: Bool
  var seen: [UInt8: Set<UInt64>] = [:]

  init(devices: [ArchiveHeader.Device], salvages: Bool) {
    self.devices = devices
    self.salvages = salvages
  }

  mutating func accepts(_ slot: ExtentHeader.Slot) -> Bool {
    guard let device = devices.first(where: { $0.id == slot.device }) else { return false }
    let cluster = UInt64(slot.cluster)
    let isNew = !seen[slot.device, default: []].contains(cluster)
    if device.isVMState {
      if !salvages, cluster != UInt64(seen[slot.device, default: []].count) { return false }
      guard isNew else { return false }
    } else {
      for block in 0..<16 where slot.mask >> UInt16(block) & 1 == 1 {
        guard cluster * 65536 + UInt64(block) * 4096 < device.size else { return false }
      }
      guard isNew, cluster < device.clusterCount else { return false }
    }
    seen[slot.device, default: []].insert(cluster)
    return true
  }

  func check(_ census: ClusterCensus) throws {
    var incomplete: [ArchiveHeader.Device] = []
    for device in devices {
      let clusters = seen[device.id] ?? []
      try require(census.count(of: device) == UInt64(clusters.count), "the count of \(device)")
      let end = (clusters.max() ?? 0) + (clusters.isEmpty ? 0 : 1)
      let needed = device.isVMState ? max(device.clusterCount, end) : device.clusterCount
      let isComplete = UInt64(clusters.count) == needed
      try require(census.isComplete(device) == isComplete, "whether \(device) is complete")
      if !isComplete { incomplete.append(device) }
      try require(
        census.length(of: device) == (device.isVMState ? end * 65536 : device.size),
        "the length of \(device)")
      let first = (0...UInt64(clusters.count)).first { !clusters.contains($0) }
      try require(
        census.next(seen: false, of: device, from: 0) == first.flatMap { $0 < needed ? $0 : nil },
        "the first gap of \(device)")
      var found: Set<UInt64> = []
      var next: UInt64 = 0
      while let cluster = census.next(seen: true, of: device, from: next) {
        found.insert(cluster)
        next = cluster + 1
      }
      try require(found == clusters, "the clusters of \(device)")
    }
    do {
      try census.checkComplete(devices)
      try require(incomplete.isEmpty, "an incomplete device passes")
    } catch {
      try require(!incomplete.isEmpty, "\(error)")
    }
    let stranger = ArchiveHeader.Device(id: 200, name: [1], size: 512)
    if !devices.contains(where: { $0.id == 200 }) {
      try require(census.next(seen: true, of: stranger, from: 0) == nil, "a device not there")
      try require(census.next(seen: false, of: stranger, from: 0) == nil, "a device not there")
      try require(census.count(of: stranger) == 0, "a device not there")
    }
  }
}
