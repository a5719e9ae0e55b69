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

    var builder = try ArchiveBuilder(header, digest: MD5.self)
    bytes = builder.headerBytes
    var kept: [UInt8] = []
    for (device, cluster) in clusters {
      // Not every extent is full.
      if builder.room == 0 || Int.random(in: 0..<20, using: &random) == 0 {
        if let extent = builder.nextExtent() { append(extent, kept) }
        kept = []
      }
      let disk = disks[device] ?? []
      var data = Array(disk[(Int(cluster) * 65536)...].prefix(65536))
      data += [UInt8](repeating: 0, count: 65536 - data.count)
      try builder.add(data.span, device: device, cluster: cluster, at: kept.count)
      kept += data
    }
    if let extent = try builder.finish() { append(extent, kept) }
  }

  private mutating func append(_ extent: ArchiveBuilder.Extent, _ kept: [UInt8]) {
    extentStarts.append(bytes.count)
    bytes += extent.headerBytes
    for range in extent.blocks { bytes += kept[range] }
  }
}
