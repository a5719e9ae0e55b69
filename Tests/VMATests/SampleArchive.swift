// SPDX-License-Identifier: Apache-2.0

import Archives
import TestSupport
import VMA

/// A random archive, and its content.
struct SampleArchive {
  var header: ArchiveHeader
  /// The content of each device, by its id.
  var disks: [UInt8: [UInt8]] = [:]
  var bytes: [UInt8] = []
  /// Where each extent starts.
  var extentStarts: [Int] = []

  init(seed: UInt64, deviceCount: ClosedRange<Int> = 0...3) throws {
    var random = SeededGenerator(seed: seed)
    header = ArchiveHeader(
      uuid: ArchiveHeader.UUID(.random(in: .min ... .max, using: &random)), creationTime: 1,
      configs: [ArchiveHeader.Config(name: [97], data: random.bytes(700))], devices: [])
    var clusters: [(device: UInt8, cluster: UInt64)] = []
    for number in 0..<Int.random(in: deviceCount, using: &random) {
      let id = UInt8(number * 100 + 1)
      let isState = number == 2
      let size = Int.random(in: 1...600, using: &random) * 512
      header.devices.append(
        ArchiveHeader.Device(
          id: id, name: isState ? VMAFormat.vmstateName : [UInt8(ascii: "d"), id],
          size: UInt64(size)))
      let content = (0..<size.dividedRoundingUp(by: 4096)).flatMap { _ in
        [UInt8](
          repeating: .random(in: 1...255, using: &random) &* .random(in: 0...1, using: &random),
          count: 4096)
      }
      disks[id] =
        isState
        ? content
          + [UInt8](
            repeating: 0, count: content.count.roundedUp(toMultipleOf: 65536) - content.count)
        : Array(content[..<size])
      clusters += (0..<UInt64(size.dividedRoundingUp(by: 65536))).map { (id, $0) }
    }
    // Any order, except for the clusters of `vmstate`.
    clusters.shuffle(using: &random)
    var state = (0..<UInt64.max).makeIterator()
    for index in clusters.indices where clusters[index].device == 201 {
      clusters[index].cluster = state.next() ?? 0
    }

    // Not by the builder, which has an order of its own.
    bytes = try header.serialized(digest: MD5.self)
    var slots: [ExtentHeader.Slot] = []
    var blocks: [UInt8] = []
    for (device, cluster) in clusters {
      // Not every extent is full.
      if slots.count == 59 || Int.random(in: 0..<20, using: &random) == 0 {
        try append(&slots, &blocks)
      }
      let disk = disks[device] ?? []
      var slot = ExtentHeader.Slot(device: device, cluster: UInt32(cluster), mask: 0)
      for block in 0..<16 {
        var data = Array(disk.dropFirst(Int(cluster) * 65536 + block * 4096).prefix(4096))
        guard data.contains(where: { $0 != 0 }) else { continue }
        data += [UInt8](repeating: 0, count: 4096 - data.count)
        slot.mask |= 1 << UInt16(block)
        blocks += data
      }
      slots.append(slot)
    }
    if !slots.isEmpty || extentStarts.isEmpty { try append(&slots, &blocks) }
  }

  private mutating func append(
    _ slots: inout [ExtentHeader.Slot], _ blocks: inout [UInt8]
  ) throws(FormatError) {
    extentStarts.append(bytes.count)
    bytes += try ExtentHeader(slots: slots).serialized(uuid: header.uuid, digest: MD5.self)
    bytes += blocks
    slots = []
    blocks = []
  }
}
