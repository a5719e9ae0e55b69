// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// How vma-pack divides disks into extents, at rest and live.
@Suite("Clusters are in aligned groups, early ones in extents of their own")
struct GroupTests {
  let dir: Scratch
  static let clusters = 59 * 4 + 10
  /// One block of data in each cluster.
  static let image: [UInt8] = {
    var image = Image.zeros(clusters * clusterSize)
    for cluster in 0..<clusters {
      let start = cluster * clusterSize
      image.replaceSubrange(start..<start + 4096, with: Image.full(4096, seed: UInt64(cluster)))
    }
    return image
  }()

  init() throws { dir = try Scratch() }

  /// The clusters of each extent of device 1.
  private func extents(_ archive: ParsedArchive) -> [[Int]] {
    var order = archive.order[...]
    return archive.slotsPerExtent.map { count in
      defer { order = order.dropFirst(count) }
      return order.prefix(count).map(\.cluster)
    }
  }

  private func group(_ number: Int, without early: Set<Int> = []) -> [Int] {
    (number * 59..<min(number * 59 + 59, Self.clusters)).filter { !early.contains($0) }
  }

  private func cluster(_ number: Int) -> ArraySlice<UInt8> {
    Self.image[number * clusterSize..<(number + 1) * clusterSize]
  }

  @Test func `disks at rest`() throws {
    try dir.write(Self.image, to: "a.raw")
    let packed = try dir.run(.pack, "a.raw").succeeds().output
    let archive = ParsedArchive(packed)
    #expect(archive.faults == [])
    #expect(extents(archive) == (0...4).map { group($0) })
  }

  @Test(arguments: [true, false])
  func `a stream with early clusters`(isMarked: Bool) throws {
    let early: Set = [70, 130, 131, 200, 240]
    var stream = EventStream()
    stream.device(1, "d", Self.image.count)
    stream.begin()
    for number in 0..<Self.clusters where number != 70 {
      // Before the copying gets there.
      if number == 3 { stream.old(1, at: 70 * clusterSize, cluster(70), byGuest: isMarked) }
      if number == 3 || number == 20 {
        for late in number == 3 ? [240, 131] : [130, 200] {
          stream.old(1, at: late * clusterSize, cluster(late), byGuest: isMarked)
        }
      }
      if !early.contains(number) { stream.old(1, at: number * clusterSize, cluster(number)) }
    }
    stream.finish(1)
    stream.end()
    let archive = try dir.pack(stream)
    expectSame(archive.images["d"] ?? [], Self.image)
    // Cluster 70 is within reach.
    let left = early.subtracting([70])
    #expect(
      extents(archive) == (0...4).map { group($0, without: left) } + [left.sorted()])
    #expect(archive.digestCounts.values.reduce(0, +) == 6)
    #expect(archive.digestCounts.keys.max() == archive.extents.count - 1)

    // Read by each tool, in pieces and in order.
    let bytes = try dir.run(.pack, "--events", input: .pipe(stream.bytes)).output
    try dir.write(bytes, to: "live.vma")
    try dir.run(.unpack, "-t", "live.vma").succeeds()
    expectSame(try dir.run(.cat, "live.vma", "d").succeeds().output, Self.image)
    expectSame(try dir.run(.cat, "-", "d", input: .pipe(bytes)).succeeds().output, Self.image)
    try dir.sh("vma-to-tar live.vma | tar -xO disk-d.raw | sha256sum >1").succeeds()
    try dir.sh("vma-to-tar <live.vma --no-sparse | tar -xO disk-d.raw | sha256sum >2").succeeds()
    #expect(try dir.read("1") == dir.read("2"))
    // A bit in the extent of early clusters.
    let extent = try #require(
      archive.extents.enumerated().filter { !$0.element.blocks.isEmpty }.last)
    var flipped = bytes
    let offset = bytes.count - archive.bytesAfter(extent.element.blocks.lowerBound)
    flipped[offset + 5000] ^= 1
    try dir.write(flipped, to: "flipped.vma")
    for arguments in [["flipped.vma", "d"], ["-", "d"]] {
      try dir.run(.cat, arguments, input: arguments[0] == "-" ? .pipe(flipped) : .nothing)
        .fails(65, .cat, saying: "extent \(extent.offset) at byte", "(damaged: d)", silent: false)
    }
    try dir.run(.toTar, "flipped.vma").fails(65, .toTar, saying: "(damaged: d)", silent: false)
    try dir.run(.unpack, "-C", "out", "flipped.vma").fails(65, .unpack, saying: "(damaged: d)")
  }

  /// Two disks, copied in turn; early clusters of both share an extent, which vma-cat of one of them
  /// reads in pieces, and not completely.
  @Test func `several disks`() throws {
    var stream = EventStream()
    stream.device(1, "d", Self.image.count)
    stream.device(2, "e", Self.image.count)
    stream.begin()
    for device in [2, 1] as [UInt8] {
      for number in [200, 180] {
        stream.old(device, at: number * clusterSize, cluster(number), byGuest: true)
      }
    }
    for number in 0..<Self.clusters where number != 200 && number != 180 {
      for device in [1, 2] as [UInt8] {
        stream.old(device, at: number * clusterSize, cluster(number))
      }
    }
    for device in [1, 2] as [UInt8] { stream.finish(device) }
    stream.end()
    let archive = try dir.pack(stream)
    let slots = archive.order.suffix(4)
    #expect(slots.map { [$0.device, $0.cluster] } == [[1, 180], [1, 200], [2, 180], [2, 200]])
    for name in ["d", "e"] { expectSame(archive.images[name] ?? [], Self.image) }
    let bytes = try dir.run(.pack, "--events", input: .pipe(stream.bytes)).output
    try dir.write(bytes, to: "live.vma")
    for name in ["d", "e"] {
      expectSame(try dir.run(.cat, "live.vma", name).succeeds().output, Self.image)
    }
    try dir.sh("vma-to-tar live.vma | tar -xO disk-e.raw | cmp - <(vma-cat live.vma d)").succeeds()
    var flipped = bytes
    // The last block belongs to disk e.
    flipped[bytes.count - 512 - 100] ^= 1
    try dir.write(flipped, to: "flipped.vma")
    for name in ["d", "e"] {
      try dir.run(.cat, "flipped.vma", name)
        .fails(65, .cat, saying: "(damaged: d, e)", silent: false)
      try dir.run(.cat, "-", name, input: .pipe(flipped))
        .fails(65, .cat, saying: "(damaged: d, e)", silent: false)
    }
    try dir.run(.toTar, "flipped.vma").fails(65, .toTar, saying: "(damaged: d, e)", silent: false)
  }

  @Test func `a copied source gives the same groups as a disk at rest`() throws {
    try dir.write(Self.image, to: "a.raw")
    var stream = EventStream()
    stream.device(1, "d", Self.image.count)
    stream.begin()
    stream.old(1, at: 200 * clusterSize, cluster(200), byGuest: true)
    stream.finish(1)
    stream.end()
    let archive = try dir.pack(stream, ["d=a.raw"])
    expectSame(archive.images["d"] ?? [], Self.image)
    #expect(extents(archive) == (0...4).map { group($0, without: [200]) } + [[200]])
  }

  /// A stream that fails after all clusters: neither the last data nor the digests are sent.
  @Test func `a failing run leaves an archive that does not pass`() throws {
    var stream = EventStream()
    stream.device(1, "d", Self.image.count)
    stream.begin()
    stream.whole(1, Self.image)
    let outcome = try dir.refuse(stream.bytes)
    let good = try dir.pack(EventStream.of(Self.image))
    #expect(outcome.output.count < (good.extents.last { !$0.blocks.isEmpty }?.offset ?? 0) + 1)
    #expect(!outcome.output.isEmpty)
  }

  // MARK: --uuid-from

  @Test func `the same text gives the same UUID`() throws {
    try dir.write(Image.full(512, seed: 1), to: "a.raw")
    func uuid(_ text: String) throws -> String {
      let bytes = try dir.run(.pack, "--uuid-from", text, "a.raw").succeeds().output
      let hex = bytes[8..<24].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      return hex
    }
    // Calculated with Python: uuid.uuid5(namespace, "x").
    #expect(try uuid("x") == "0781ce40da3d5e82a819464ac49f55dc")
    #expect(try uuid("vm101") == uuid("vm101"))
    #expect(try uuid("vm101") != uuid("vm102"))
    #expect(try uuid("Zwölf").dropFirst(12).first == "5")
    try dir.run(.pack, "--uuid-from", "", "a.raw").fails(64, .pack, saying: "--uuid-from")
    try dir.run(
      .pack, "--uuid-from", "x", "--uuid", "0781ce40-da3d-5e82-a819-464ac49f55dc", "a.raw"
    ).fails(64, .pack, saying: "--uuid", "--uuid-from")
  }

  @Test(requires("python3")) func `the UUID is that of RFC 9562`() throws {
    try dir.write(Image.full(512, seed: 1), to: "a.raw")
    try dir.sh(
      """
      for text in x vm101 'a b' Zwölf; do
        vma-pack --uuid-from "$text" a.raw | vma-unpack -l --json
      done | grep -o '"uuid":"[^"]*"' >ours
      python3 >theirs -c 'import uuid
      for text in "x", "vm101", "a b", "Zwölf":
          u = uuid.uuid5(uuid.UUID("5e1faf14-60a3-4442-b390-16f1812c37b3"), text)
          print(f"\\"uuid\\":\\"{u}\\"")'
      diff ours theirs
      """
    ).succeeds()
  }
}
