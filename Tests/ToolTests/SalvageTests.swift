// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// A GNU ddrescue mapfile: the state of each part of a disk.
private struct RescueMap {
  var areas: [(start: Int, size: Int, status: Character)] = []

  /// Comments, one line of status, then one area a line.
  init(_ text: String) throws {
    let lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
    for line in lines.dropFirst() {
      let words = line.split(separator: " ", omittingEmptySubsequences: true)
      try #require(words.count >= 3)
      try areas.append(
        (RescueMap.number(words[0]), RescueMap.number(words[1]), #require(words[2].first)))
    }
    let head = try #require(lines.first).split(separator: " ")
    #expect(head.count >= 2)
    _ = try RescueMap.number(head[0])
  }

  private static func number(_ word: Substring) throws -> Int {
    try #require(word.hasPrefix("0x") ? Int(word.dropFirst(2), radix: 16) : Int(word))
  }

  /// The areas must cover the disk without gap or overlap.
  func expectCovers(_ size: Int, sourceLocation: SourceLocation = #_sourceLocation) {
    var end = 0
    for area in areas {
      #expect(area.start == end, sourceLocation: sourceLocation)
      #expect("?*/-+".contains(area.status), sourceLocation: sourceLocation)
      end = area.start + area.size
    }
    #expect(end == size, sourceLocation: sourceLocation)
  }

  func isRescued(_ offset: Int) -> Bool {
    areas.contains { $0.status == "+" && $0.start <= offset && offset < $0.start + $0.size }
  }
}

@Suite("--salvage restores the intact parts of a damaged archive, and reports what is lost")
struct SalvageTests {
  let dir: Scratch
  /// Twelve clusters of data in six extents, after three of another disk.
  static let image = Image.full(12 * clusterSize - 512, seed: 55)
  static let other = Image.full(3 * clusterSize, seed: 56)
  static let archive: Archive = {
    var archive = Archive([Archive.Disk("a", other)], configs: [Sample.config], perExtent: 3)
    archive.devices.append(Archive.Device(id: 2, name: "b", size: UInt64(image.count)))
    archive.extents += Archive.extents(
      [Archive.slots(of: image, device: 2)], order: .straight, perExtent: 2)
    return archive
  }()
  static let offsets = archive.extentOffsets()
  static let bytes = archive.bytes()

  init() throws { dir = try Scratch() }

  /// The image with zeros in place of these clusters.
  private func image(without lost: Set<Int>) -> [UInt8] {
    var image = Self.image
    for cluster in lost {
      let range = cluster * clusterSize..<min((cluster + 1) * clusterSize, image.count)
      image.replaceSubrange(range, with: Image.zeros(range.count))
    }
    return image
  }

  /// Runs over a file and a pipe, and checks files and maps.
  private func salvage(
    _ bytes: [UInt8], losing lost: Set<Int>, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try dir.write(bytes, to: "broken.vma")
    for (target, input) in [("file", Input.file(dir("broken.vma"))), ("pipe", .pipe(bytes))] {
      let outcome = try dir.run(
        .unpack, "--salvage", "--lost", "maps-\(target)", "-C", target, input: input)
      #expect(outcome.ending == .exit(65), sourceLocation: sourceLocation)
      #expect(
        outcome.errorLines.dropLast().allSatisfy { $0.hasPrefix("vma-unpack: ") },
        sourceLocation: sourceLocation)
      #expect(outcome.output.isEmpty, sourceLocation: sourceLocation)
      try dir.expect("\(target)/disk-a.raw", holds: Self.other, sourceLocation: sourceLocation)
      try dir.expect("\(target)/qemu-server.conf", holds: Sample.config.data)
      let name = lost.isEmpty ? "disk-b.raw" : "disk-b.raw.partial"
      try dir.expectNames(
        ["disk-a.raw", name, "qemu-server.conf"], in: target, sourceLocation: sourceLocation)
      try dir.expect(
        "\(target)/\(name)", holds: image(without: lost), sourceLocation: sourceLocation)
      try checkMaps("maps-\(target)", losing: lost, sourceLocation)
    }
  }

  private func map(_ file: String) throws -> RescueMap {
    try RescueMap(String(decoding: dir.read(file), as: UTF8.self))
  }

  private func checkMaps(
    _ folder: String, losing lost: Set<Int>, _ sourceLocation: SourceLocation
  ) throws {
    try dir.expectNames(["disk-a.map", "disk-b.map"], in: folder, sourceLocation: sourceLocation)
    let whole = try map(folder + "/disk-a.map")
    whole.expectCovers(Self.other.count, sourceLocation: sourceLocation)
    #expect(whole.areas.allSatisfy { $0.status == "+" }, sourceLocation: sourceLocation)
    let map = try map(folder + "/disk-b.map")
    map.expectCovers(Self.image.count, sourceLocation: sourceLocation)
    for cluster in 0..<12 {
      for offset in [cluster * clusterSize, (cluster + 1) * clusterSize - 513] {
        let isRescued = map.isRescued(offset)
        #expect(
          isRescued == !lost.contains(cluster), "byte \(offset)", sourceLocation: sourceLocation)
      }
    }
  }

  @Test func `an intact archive is unpacked as usual`() throws {
    try dir.write(Self.bytes, to: "a.vma")
    try dir.run(.unpack, "--salvage", "--lost", "maps", "-C", "out", "a.vma").succeeds()
    try dir.expectNames(["disk-a.raw", "disk-b.raw", "qemu-server.conf"], in: "out")
    try dir.expect("out/disk-b.raw", holds: Self.image)
    try checkMaps("maps", losing: [], #_sourceLocation)
  }

  @Test func `an extent whose header is damaged`() throws {
    for place in [0, 7, 30, 45] {
      var bytes = Self.bytes
      bytes[Self.offsets[3] + place] ^= 0x40
      try salvage(bytes, losing: [4, 5])
      for name in ["file", "pipe", "maps-file", "maps-pipe"] {
        try FileManager.default.removeItem(atPath: dir(name))
      }
    }
  }

  @Test(arguments: [1, 3, 511, 512, 513, 4096, 70_001])
  func `garbage of any length between two extents`(count: Int) throws {
    var bytes = Self.bytes
    bytes.insert(contentsOf: Image.full(count, seed: 1), at: Self.offsets[2])
    for (target, input) in [("file", try dir.write(bytes, to: "broken.vma")), ("pipe", "-")] {
      let outcome = try dir.run(
        .unpack, "--salvage", "--lost", "maps-\(target)", "-C", target, input,
        input: .pipe(bytes))
      #expect(outcome.ending == .exit(65))
      let map = try map("maps-\(target)/disk-b.map")
      map.expectCovers(Self.image.count)
      let isWhole = dir.exists("\(target)/disk-b.raw")
      let found = try dir.read("\(target)/disk-b.raw" + (isWhole ? "" : ".partial"))
      #expect(found.count == Self.image.count)
      // Whether the garbage is after the extent's data or inside it is unknown, so that extent may
      // be lost. All data reported as rescued must be right, and all later data is.
      for cluster in 0..<11 {
        let range = cluster * clusterSize..<(cluster + 1) * clusterSize
        if map.isRescued(range.lowerBound) {
          expectSame(Array(found[range]), Array(Self.image[range]), "cluster \(cluster)")
        } else {
          #expect(cluster < 2)
        }
      }
    }
  }

  @Test(arguments: [20_000, 40_000])
  func `data that contains the magic of extents does not prove its position`(place: Int) throws {
    let image =
      Image.full(61_440, seed: 57) + [[UInt8]](repeating: Array("VMAE".utf8), count: 1024).joined()
    try dir.write(image, to: "d.raw")
    try dir.sh("vma-pack -o sound.vma d=d.raw").succeeds()
    var bytes = try dir.read("sound.vma")
    bytes.insert(contentsOf: Image.full(512, seed: 58), at: place)
    try dir.write(bytes, to: "broken.vma")
    let outcome = try dir.run(.unpack, "--salvage", "--lost", "maps", "-C", "out", "broken.vma")
    #expect(outcome.ending == .exit(65))
    let map = try map("maps/disk-d.map")
    let found = try dir.read("out/disk-d.raw.partial")
    for block in stride(from: 0, to: image.count, by: 4096) where map.isRescued(block) {
      expectSame(Array(found[block..<block + 4096]), Array(image[block..<block + 4096]))
    }
  }

  @Test func `a piece missing from the middle`() throws {
    var bytes = Self.bytes
    // From within the data of one extent to within the data of the second one after it.
    bytes.removeSubrange(Self.offsets[2] + 9000..<Self.offsets[4] + 8999)
    try dir.write(bytes, to: "broken.vma")
    let outcome = try dir.run(
      .unpack, "--salvage", "--lost", "maps", "-C", "out", "broken.vma")
    #expect(outcome.ending == .exit(65))
    let map = try map("maps/disk-b.map")
    map.expectCovers(Self.image.count)
    // The extents after the next intact header are complete again.
    for cluster in [0, 1, 8, 9, 10, 11] { #expect(map.isRescued(cluster * clusterSize)) }
    for cluster in 4...7 { #expect(!map.isRescued(cluster * clusterSize)) }
    let partial = try dir.read("out/disk-b.raw.partial")
    #expect(partial.count == Self.image.count)
    for cluster in [0, 1, 8, 9, 10] {
      let range = cluster * clusterSize..<(cluster + 1) * clusterSize
      expectSame(Array(partial[range]), Array(Self.image[range]), "cluster \(cluster)")
    }
  }

  @Test func `truncated between extents and within one`() throws {
    try salvage(Array(Self.bytes.prefix(Self.offsets[5])), losing: [8, 9, 10, 11])
    for name in ["file", "pipe", "maps-file", "maps-pipe"] {
      try FileManager.default.removeItem(atPath: dir(name))
    }
    try salvage(Array(Self.bytes.prefix(Self.offsets[5] + 100)), losing: [8, 9, 10, 11])
  }

  @Test func `of two copies of a cluster the first is kept`() throws {
    var archive = Self.archive
    var twice = archive.extents[2]
    twice.slots = twice.slots.map { slot in
      slot.map {
        Archive.Slot(
          device: $0.device, cluster: $0.cluster, mask: $0.mask,
          blocks: Image.full($0.blocks.count, seed: 99))
      }
    }
    archive.extents.append(twice)
    try dir.write(archive.bytes(), to: "broken.vma")
    let outcome = try dir.run(.unpack, "--salvage", "-C", "out", "broken.vma")
    #expect(outcome.ending == .exit(65))
    // They differ, so neither is proven.
    try dir.expect("out/disk-b.raw.partial", holds: Self.image)
  }

  @Test func `only selected drives`() throws {
    var bytes = Self.bytes
    bytes[Self.offsets[3]] ^= 1
    try dir.write(bytes, to: "broken.vma")
    let outcome = try dir.run(
      .unpack, "--salvage", "-d", "b", "--no-configs", "-C", "out", "broken.vma")
    #expect(outcome.ending == .exit(65))
    try dir.expectNames(["disk-b.raw.partial"], in: "out")
  }

  @Test func `with -m lost areas are not changed`() throws {
    let old = Image.full(Self.image.count + 4096, seed: 77)
    try dir.write(old, to: "target")
    var bytes = Self.bytes
    bytes[Self.offsets[3]] ^= 1
    let outcome = try dir.run(
      .unpack, "--salvage", "--no-configs", "-C", "out", "-m", "b=target", input: .pipe(bytes))
    #expect(outcome.ending == .exit(65))
    var expected = Self.image + old.dropFirst(Self.image.count)
    let lost = 4 * clusterSize..<6 * clusterSize
    expected.replaceSubrange(lost, with: old[lost])
    try dir.expect("target", holds: expected)
    try dir.expectNames(["disk-a.raw"], in: "out")
  }

  @Test func `nothing can be salvaged without an intact header`() throws {
    var bytes = Self.bytes
    bytes[1] ^= 1
    try dir.write(bytes, to: "broken.vma")
    try dir.run(.unpack, "--salvage", "-C", "out", "broken.vma").fails(65, .unpack)
    try dir.run(.unpack, "--salvage", "-C", "out", input: .pipe(bytes)).fails(65, .unpack)
    if dir.exists("out") { try dir.expectNames([], in: "out") }
  }

  @Test func `a hostile name is refused, too`() throws {
    var archive = Self.archive
    archive.devices[1] = Archive.Device(id: 2, name: "../b", size: UInt64(Self.image.count))
    try dir.write(archive.bytes(), to: "broken.vma")
    try dir.run(.unpack, "--salvage", "-C", "out", "broken.vma").fails(65, .unpack)
    if dir.exists("out") { try dir.expectNames([], in: "out") }
  }

  @Test(arguments: ["disk-a.raw", "disk-b.raw.partial"])
  func `an existing file is 73, too`(name: String) throws {
    try dir.makeDirectory("out")
    try dir.write("precious", to: "out/\(name)")
    var bytes = Self.bytes
    bytes[Self.offsets[3]] ^= 1
    try dir.write(bytes, to: "broken.vma")
    let outcome = try dir.run(.unpack, "--salvage", "-C", "out", "broken.vma")
    #expect(outcome.ending == .exit(73))
    try dir.expect("out/\(name)", holds: Array("precious".utf8))
  }

  @Test(requires("zstd"))
  func `a truncated compressed archive gives everything before its end`() throws {
    try dir.write(Self.bytes, to: "a.vma")
    try dir.sh("zstd -q a.vma && head -c 400000 a.vma.zst > cut.zst").succeeds()
    let outcome = try dir.run(.unpack, "--salvage", "-C", "out", "cut.zst")
    #expect(outcome.ending == .exit(65))
    // It may be right, but without the end of the frame it is not proven.
    try dir.expect("out/disk-a.raw.partial", holds: Self.other)
    let partial = try dir.read("out/disk-b.raw.partial")
    expectSame(Array(partial.prefix(clusterSize)), Array(Self.image.prefix(clusterSize)))
  }
}
