// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

/// Each run is killed after two seconds of processor time; in a debug build after 30, because
/// nothing is inlined there.
@Suite("C5: the time depends on the bytes that are read, not on claimed sizes")
struct SalvageCostTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  private func expectCheap(
    _ command: String, _ endings: [Int32], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #if DEBUG
      let seconds = 30
    #else
      let seconds = 2
    #endif
    let outcome = try dir.sh("ulimit -t \(seconds); exec \(command)")
    #expect(
      endings.map(Ending.exit).contains(outcome.ending), "\(command) \(outcome.errors)",
      sourceLocation: sourceLocation)
  }

  /// Devices of 256 TiB with a few clusters, far from each other.
  private func write(devices: Int, clusters: Int, to name: String) throws {
    var archive = Archive()
    archive.devices = (1...devices).map {
      Archive.Device(id: $0, name: "d\($0)", size: 1 << 48)
    }
    let slots = (0..<clusters).flatMap { index in
      (1...devices).map { device in
        Archive.Slot(
          device: UInt8(device), cluster: UInt32(index) * UInt32(4_000_000_000 / clusters), mask: 0,
          blocks: [])
      }
    }
    archive.extents = stride(from: 0, to: slots.count, by: 59).map { start in
      Archive.Extent(Array(slots[start..<min(start + 59, slots.count)]))
    }
    try dir.write(archive.bytes(), to: name)
  }

  @Test("C5: 8 devices of 256 TiB with scattered clusters", Requirements(["zstd"]))
  func fewDevices() throws {
    try write(devices: 8, clusters: 1500, to: "a.vma")
    try dir.sh("zstd -q a.vma").succeeds()
    for options in ["--salvage --lost maps -C out", "-C plain", "-t"] {
      try expectCheap("vma-unpack \(options) a.vma.zst", [65, 74])
    }
    try expectCheap("vma-cat a.vma.zst d3", [65])
    try expectCheap("vma-to-tar a.vma.zst", [65])
    try expectCheap("vma-to-tar --no-sparse a.vma.zst", [65])
  }

  @Test("C5: 254 devices of 256 TiB", arguments: [0, 2, 40])
  func manyDevices(clusters: Int) throws {
    try write(devices: 254, clusters: clusters, to: "a.vma")
    for options in ["--salvage --lost maps -C out", "--salvage -C bare", "-C plain"] {
      try expectCheap("vma-unpack \(options) - < <(cat a.vma)", [65, 73, 74])
    }
  }

  /// Data that always looks like the start of an extent.
  @Test(
    "C5: 64 MiB of the magic of extents",
    arguments: ["magic", "magic and uuid", "uuid", "zero uuid", "plausible", "plausible, varied"])
  func likeExtents(kind: String) throws {
    var archive = Sample.small
    var unit = Array("VMAE".utf8)
    switch kind {
    case "magic and uuid": unit += [0, 0, 0, 0] + archive.uuid
    case "uuid": unit = archive.uuid
    case "zero uuid":
      archive.uuid = Image.zeros(16)
      unit = Array("VMAE".utf8) + Image.zeros(20)
    default: break
    }
    if kind.hasPrefix("plausible") {
      // Each 24 bytes start a header whose number of blocks matches its slots.
      unit = Array("VMAE".utf8) + [0, 0, 0, 0] + archive.uuid
      var count = 0
      for slot in 0..<59 {
        let mask = 16 + slot * 8
        count += unit[mask % 24].nonzeroBitCount + unit[(mask + 1) % 24].nonzeroBitCount
      }
      (unit[6], unit[7]) = (UInt8(count >> 8), UInt8(count & 255))
    }
    if kind.hasSuffix("varied") {
      let pattern = unit
      unit = []
      for number in 0..<4096 {
        var copy = pattern
        (copy[4], copy[5]) = (UInt8(number >> 8), UInt8(number & 255))
        unit += copy
      }
    }
    var flood = unit
    while flood.count < 64 << 20 { flood += flood }
    flood.removeLast(flood.count - 64 << 20)
    // An entire extent after it must be found.
    let last = archive.bytes(of: archive.extents.removeLast())
    try dir.write(archive.bytes() + flood + last, to: "flood.vma")
    try expectCheap("vma-unpack --salvage -C out flood.vma", [65])
    // The bytes after the last extent determine whether its data is proven.
    let name = "out/disk-drive-scsi0.raw"
    try dir.expect(dir.exists(name) ? name : name + ".partial", holds: Sample.smallImage)
  }
}
