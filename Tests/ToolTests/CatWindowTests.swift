// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("vma-cat --offset and --length of an incomplete archive")
struct CatWindowTests {
  let dir: Scratch
  static let image = Image.mixed(20 * clusterSize, seed: 540)
  static let other = Image.mixed(3 * clusterSize, seed: 541)

  init() throws { dir = try Scratch() }

  /// Whether all of a range is in the first `count` clusters of an order.
  private func check(
    _ archive: [UInt8], _ range: Range<Int>, isThere: Bool,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try dir.write(archive, to: "cut.vma")
    for command in ["vma-cat", "cat cut.vma | vma-cat"] {
      let operand = command == "vma-cat" ? "cut.vma" : "-"
      let outcome = try dir.sh(
        "\(command) --offset \(range.lowerBound) --length \(range.count) \(operand) d")
      if isThere {
        #expect(outcome.ending == .exit(0), "\(outcome.errors)", sourceLocation: sourceLocation)
        expectSame(
          outcome.output, Array(Self.image[range]), outcome.command, sourceLocation: sourceLocation)
        #expect(outcome.complaint(about: .cat) == nil, sourceLocation: sourceLocation)
        #expect(
          outcome.errors.contains("requested range is complete"), sourceLocation: sourceLocation)
      } else {
        outcome.fails(
          65, .cat, saying: "d", silent: operand == "cut.vma", sourceLocation: sourceLocation)
      }
    }
  }

  @Test("B8: only the clusters in the window must be present", arguments: 0..<12)
  func window(seed: UInt64) throws {
    var random = Seeded(seed + 77)
    var archive = Archive(
      [Archive.Disk("d", Self.image)], order: seed % 2 == 0 ? .shuffled(seed: seed) : .reversed,
      perExtent: 4)
    // Truncated between two extents.
    let kept = Int.random(in: 1..<max(2, archive.extents.count), using: &random)
    archive.extents.removeLast(max(1, archive.extents.count - kept))
    let there = Set(archive.extents.flatMap(\.slots).compactMap { $0.map { Int($0.cluster) } })
    for _ in 0..<6 {
      let start = Int.random(in: 0..<Self.image.count, using: &random)
      let end = Int.random(in: start...min(start + 200_000, Self.image.count), using: &random)
      guard start < end else { continue }
      let clusters = start / clusterSize...(end - 1) / clusterSize
      try check(archive.bytes(), start..<end, isThere: clusters.allSatisfy(there.contains))
    }
  }

  @Test("B8: an archive that ends in the middle of an extent")
  func truncated() throws {
    let bytes = Archive([Archive.Disk("d", Self.image)], perExtent: 5).bytes()
    let extents = Archive([Archive.Disk("d", Self.image)], perExtent: 5).extentOffsets()
    let first = 0..<5 * clusterSize
    try check(Array(bytes.prefix(extents[1] + 100)), first, isThere: true)
    try check(Array(bytes.prefix(extents[2] - 1)), first, isThere: true)
    try check(Array(bytes.prefix(extents[1] - 1)), first, isThere: false)
    try check(Array(bytes.prefix(extents[1] + 100)), 0..<5 * clusterSize + 1, isThere: false)
    // Damage is not truncation.
    var damaged = bytes
    damaged[extents[2] + 30] ^= 1
    try check(damaged, first, isThere: false)
  }

  /// Missing bytes inside the last extent shift all later ones.
  @Test("B8: nothing of an incomplete extent is used", arguments: [1, 512, 4096, 65536])
  func missingBytes(count: Int) throws {
    let archive = Archive([Archive.Disk("d", Self.image)], perExtent: 5)
    let extents = archive.extentOffsets()
    var bytes = Array(archive.bytes().prefix(extents[2]))
    bytes.removeSubrange(extents[1] + 512 + 300..<extents[1] + 512 + 300 + count)
    try check(bytes, 0..<5 * clusterSize, isThere: true)
    try check(bytes, 5 * clusterSize..<5 * clusterSize + 1, isThere: false)
    try check(bytes, 7 * clusterSize..<8 * clusterSize, isThere: false)
    // Added bytes shift the end of the extent.
    bytes = Array(archive.bytes().prefix(extents[2]))
    bytes.insert(contentsOf: Image.full(count, seed: 3), at: extents[1] + 512 + 300)
    try dir.write(bytes, to: "long.vma")
    let window = "--offset \(7 * clusterSize) --length 1"
    try dir.sh("vma-cat \(window) long.vma d").fails(65, .cat)
    #expect(try dir.sh("vma-cat \(window) - d < <(cat long.vma)").ending == .exit(65))
  }

  @Test("B8: a window of the VM state")
  func state() throws {
    var archive = Archive([], perExtent: 2)
    archive.devices = [Archive.Device(id: 3, name: "vmstate", size: UInt64(Self.image.count))]
    archive.extents = Archive.extents(
      [Archive.slots(of: Self.image, device: 3)], order: .straight, perExtent: 2)
    archive.extents.removeLast(4)
    let length = 12 * clusterSize
    try dir.write(archive.bytes(), to: "cut.vma")
    for command in ["vma-cat", "cat cut.vma | vma-cat"] {
      let operand = command == "vma-cat" ? "cut.vma" : "-"
      let outcome = try dir.sh("\(command) --length \(length) \(operand) vmstate")
      #expect(outcome.ending == .exit(0) && outcome.complaint(about: .cat) == nil)
      expectSame(outcome.output, Array(Self.image.prefix(length)))
      try dir.sh("\(command) --length \(length + 1) \(operand) vmstate").fails(65, .cat)
    }
  }

  @Test("B8: the message of an incomplete file names its drives")
  func names() throws {
    let disks = [
      Archive.Disk("whole", Self.other), Archive.Disk("first", Self.image),
      Archive.Disk("second", Self.image),
    ]
    var archive = Archive(disks, perExtent: 4)
    archive.extents.removeLast(8)
    try dir.write(archive.bytes(), to: "clean.vma")
    try dir.write(Array(archive.bytes().dropLast(1)), to: "cut.vma")
    try dir.write(archive.headerBytes() + archive.bytes(of: archive.extents[0]), to: "short.vma")
    for name in ["clean", "cut"] {
      for command in [
        "vma-unpack -t \(name).vma", "vma-unpack -t < <(cat \(name).vma)",
        "vma-unpack -t --quick \(name).vma", "vma-unpack -C o \(name).vma",
      ] {
        let outcome = try dir.sh(command)
        outcome.fails(65, .unpack, saying: "first", "second")
        #expect(!outcome.errors.contains("whole"), "\(outcome.errors)")
      }
      try dir.sh("vma-to-tar \(name).vma").fails(65, .toTar, saying: "first", "second")
      try dir.sh("vma-cat \(name).vma second").fails(65, .cat, saying: "second")
    }
    var large = Archive([])
    large.devices = [
      Archive.Device(id: 1, name: "one", size: 1 << 40),
      Archive.Device(id: 2, name: "two", size: 1 << 40),
    ]
    try dir.write(large.bytes(), to: "large.vma")
    try dir.sh("vma-unpack -C o large.vma").fails(65, .unpack, saying: "one", "two")
  }
}
