// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// A GNU ddrescue mapfile as one sign for each cluster; the first one if a cluster has several.
private struct ClusterMap {
  var signs: [Character] = []

  init(_ text: String, size: Int) throws {
    let lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
    var end = 0
    for line in lines.dropFirst() {
      let words = line.split(separator: " ", omittingEmptySubsequences: true)
      let start = try #require(Int(words[0].dropFirst(2), radix: 16))
      let count = try #require(Int(words[1].dropFirst(2), radix: 16))
      #expect(start == end)
      end = start + count
      while signs.count * clusterSize < end { signs.append(try #require(words[2].first)) }
    }
    #expect(end == size)
  }
}

@Suite("B6: --salvage restores all it can, and reports what is proven")
struct SalvageTruthTests {
  let dir: Scratch
  private static let image = Image.mixed(40 * clusterSize - 1024, seed: 61)
  private static let other = Image.mixed(9 * clusterSize, seed: 62)
  private static let archive = Archive(
    [Archive.Disk("a", other), Archive.Disk("b", image)], configs: [Sample.config], perExtent: 5)

  init() throws {
    dir = try Scratch()
    try dir.write(Self.archive.bytes(), to: "a.vma")
  }

  private func map(_ name: String, of image: [UInt8]) throws -> [Character] {
    try ClusterMap(String(decoding: dir.read(name), as: UTF8.self), size: image.count).signs
  }

  /// Salvages, and checks that all data reported as correct is correct.
  ///
  /// - Returns: the signs of both disks.
  @discardableResult
  private func salvage(
    _ file: String, _ ending: Ending = .exit(65), sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> (a: [Character], b: [Character], said: String) {
    try dir.sh("rm -rf out maps").succeeds()
    let outcome = try dir.run(.unpack, "--salvage", "--lost", "maps", "-C", "out", file)
    #expect(outcome.ending == ending, "\(outcome.errors)", sourceLocation: sourceLocation)
    var signs: [[Character]] = []
    for (name, image) in [("a", Self.other), ("b", Self.image)] {
      let map = try map("maps/disk-\(name).map", of: image)
      let isRight = map.allSatisfy { $0 == "+" }
      let found = try dir.read("out/disk-\(name).raw" + (isRight ? "" : ".partial"))
      #expect(found.count == image.count, sourceLocation: sourceLocation)
      for (cluster, sign) in map.enumerated() where sign == "+" {
        let range = cluster * clusterSize..<min((cluster + 1) * clusterSize, image.count)
        expectSame(
          Array(found[range]), Array(image[range]), "\(file) \(name) cluster \(cluster)",
          sourceLocation: sourceLocation)
      }
      signs.append(map)
    }
    try dir.expect("out/qemu-server.conf", holds: Sample.config.data)
    return (signs[0], signs[1], outcome.errors)
  }

  private func expectAllThere(sourceLocation: SourceLocation = #_sourceLocation) throws {
    for (name, image) in [("a", Self.other), ("b", Self.image)] {
      let isWhole = dir.exists("out/disk-\(name).raw")
      try dir.expect(
        "out/disk-\(name).raw" + (isWhole ? "" : ".partial"), holds: image,
        sourceLocation: sourceLocation)
    }
  }

  // MARK: Checksums

  @Test(
    "B6: a wrong checksum of a frame alone loses nothing, but proves nothing", Compressor.all,
    arguments: [Compressor.zstd, .gzip, .xz, .lz4, .bzip2])
  func checksum(compressor: Compressor) throws {
    try dir.sh("\(compressor.command) < a.vma > packed").succeeds()
    var bytes = try dir.read("packed")
    let place =
      switch compressor {
      case .gzip: 8
      // The check of 8 bytes is before the index, whose size is in the last 12 bytes.
      case .xz: 12 + (Int(bytes[bytes.count - 8]) + 1) * 4 + 4
      // The combined checksum is at the end, except for up to 7 bits.
      case .bzip2: 3
      default: 2
      }
    bytes[bytes.count - place] ^= 0x10
    try dir.write(bytes, to: "packed")
    try dir.run(.unpack, "-t", "packed").fails(65, .unpack)
    let (a, b, said) = try salvage("packed")
    #expect(a.contains("?") && b.contains("?") && !(a + b).contains("-"))
    #expect(said.contains("unproven") && !said.contains("lost"))
    try expectAllThere()
  }

  @Test("B6: a wrong checksum of one lzop block leaves the others proven", Compressor.all)
  func lzopChecksum() throws {
    try dir.sh("lzop -c < a.vma > packed").succeeds()
    var bytes = try dir.read("packed")
    bytes[46] ^= 1
    try dir.write(bytes, to: "packed")
    let (a, b, _) = try salvage("packed")
    #expect(a.contains("?") && a.contains("+") && !a.contains("-"))
    #expect(b.allSatisfy { $0 == "+" })
    try expectAllThere()
  }

  @Test("B6: all decoded data of a truncated frame is restored, and unproven", Compressor.all)
  func truncated() throws {
    try dir.sh("zstd -qc < a.vma > whole").succeeds()
    let bytes = try dir.read("whole")
    try dir.write(bytes.prefix(bytes.count * 3 / 4), to: "packed")
    let (a, b, _) = try salvage("packed")
    #expect(a.contains("?") && b.contains("?") && b.contains("-"))
    let found = try dir.read("out/disk-b.raw.partial")
    for (cluster, sign) in b.enumerated() where sign == "?" {
      let range = cluster * clusterSize..<(cluster + 1) * clusterSize
      expectSame(Array(found[range]), Array(Self.image[range]), "cluster \(cluster)")
    }
  }

  @Test("B6: frames without a checksum are correct if they are read without a fault")
  func withoutChecksum() throws {
    try dir.sh("zstd -qc --no-check < a.vma > packed").succeeds()
    let (a, b, _) = try salvage("packed", .exit(0))
    #expect((a + b).allSatisfy { $0 == "+" })
  }

  // MARK: Several frames

  @Test(
    "B6: after a damaged frame it continues with the next intact one", Compressor.all,
    arguments: Compressor.allCases)
  func severalFrames(compressor: Compressor) throws {
    try dir.sh(
      "split -b 300000 -d a.vma part. && for f in part.*; do \(compressor.command) < $f; done > packed"
    ).succeeds()
    let bytes = try dir.read("packed")
    var random = Seeded(5)
    for place in [bytes.count * 2 / 5, bytes.count * 2 / 5 + 3000, bytes.count / 2] {
      for kind in 0..<3 {
        var damaged = bytes
        switch kind {
        case 0: damaged[place] ^= 0x41
        case 1: damaged.replaceSubrange(place..<place + 600, with: random.bytes(600))
        default: damaged.removeSubrange(place..<place + 1500)
        }
        try dir.write(damaged, to: "damaged")
        let (a, b, _) = try salvage("damaged")
        #expect(a.allSatisfy { $0 == "+" }, "\(compressor) \(place) \(kind)")
        let right = b.count { $0 == "+" }
        #expect(right >= 20, "\(compressor) \(place) \(kind): \(String(b))")
        #expect(b.last == "+")
        #expect(b.contains { $0 != "+" })
      }
    }
  }

  @Test("B6: a damaged xz block does not affect the blocks after it", Compressor.all)
  func blocks() throws {
    try dir.sh("xz -0 -T2 --block-size=300000 -c a.vma > packed").succeeds()
    var bytes = try dir.read("packed")
    bytes[bytes.count / 2] ^= 0x20
    try dir.write(bytes, to: "packed")
    let (a, b, _) = try salvage("packed")
    #expect(a.allSatisfy { $0 == "+" } && b.last == "+")
    #expect(b.count { $0 == "+" } >= 20)
  }

  @Test(
    "B6: no wrong byte is reported as correct, whatever is damaged", Compressor.all,
    arguments: 0..<6
  )
  func anyDamage(group: UInt64) throws {
    let compressor = Compressor.allCases[Int(group)]
    // The header is in a frame of its own: without it nothing can be salvaged.
    try dir.sh(
      """
      head -c 13312 a.vma > part.h; tail -c +13313 a.vma | split -b 500000 -d - part.t
      for f in part.*; do \(compressor.command) < $f; done > packed
      """
    ).succeeds()
    let bytes = try dir.read("packed")
    var random = Seeded(group)
    for _ in 0..<12 {
      var damaged = bytes
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let place = Int.random(in: bytes.count / 10..<damaged.count - 700, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: damaged[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1: damaged.replaceSubrange(place..<place + 512, with: Image.zeros(512))
        case 2: damaged.removeSubrange(place..<place + Int.random(in: 1...600, using: &random))
        default: damaged.insert(contentsOf: random.bytes(37), at: place)
        }
      }
      try dir.write(damaged, to: "damaged")
      try salvage("damaged")
    }
  }

  // MARK: Two copies

  /// Changes one byte in an archive; the bytes around it keep their positions.
  @Test(
    "B6: two copies of a cluster that differ leave it unproven; two equal ones prove it",
    arguments: ["file", "in place"], [true, false])
  func twoCopies(target: String, differ: Bool) throws {
    var archive = Self.archive
    // A full cluster, and one that is zeros according to its mask.
    let slots = archive.extents.flatMap { $0.slots.compactMap(\.self) }.filter { $0.device == 2 }
    var full = try #require(slots.first { $0.mask.nonzeroBitCount == 16 })
    var empty = try #require(slots.first { $0.mask == 0 })
    let torn = try #require(slots.first { ![0, 0xffff].contains($0.mask) })
    if differ {
      full.blocks[4099] ^= 1
      empty.mask = 2
      empty.blocks = Image.full(4096, seed: 63)
    }
    archive.extents.append(Archive.Extent([full, torn]))
    archive.extents.append(Archive.Extent([empty, empty]))
    try dir.write(archive.bytes(), to: "twice.vma")
    let inPlace = target == "in place"
    if inPlace {
      try dir.write([UInt8](repeating: 0x77, count: Self.image.count), to: "b.raw")
    }
    let outcome = try dir.run(
      .unpack,
      ["--salvage", "--lost", "maps", "-C", "out"] + (inPlace ? ["-m", "b=b.raw"] : [])
        + ["twice.vma"])
    #expect(
      outcome.ending == .exit(65) && outcome.errors.contains("is present twice"), "\(outcome)")
    let map = try map("maps/disk-b.map", of: Self.image)
    for (cluster, sign) in map.enumerated() {
      let isDoubtful = differ && [full.cluster, empty.cluster].contains(UInt32(cluster))
      #expect(sign == (isDoubtful ? "?" : "+"), "cluster \(cluster)")
    }
    let name = inPlace ? "b.raw" : differ ? "out/disk-b.raw.partial" : "out/disk-b.raw"
    try dir.expect(name, holds: Self.image)
  }

  // MARK: Outputs that fail

  @Test(
    "B6: a write error on one disk loses only that disk", arguments: ["ENOSPC", "EFBIG", "EIO"])
  func writeError(code: String) throws {
    let outcome = try dir.run(
      .unpack, "--salvage", "--lost", "maps", "-C", "out", "a.vma",
      environment: ["VMA_FAULT": "pwrite:2:\(code)"])
    #expect(outcome.ending == .exit(74))
    #expect(outcome.errors.contains("a: not restored") && !outcome.errors.contains("missing"))
    try dir.expectNames(["disk-b.raw", "qemu-server.conf"], in: "out")
    try dir.expect("out/disk-b.raw", holds: Self.image)
    try dir.expectNames(["disk-b.map"], in: "maps")
  }

  @Test(
    "B6: a disk that cannot be finished is reported, and gets no map",
    arguments: ["ftruncate", "fsync"])
  func finishError(call: String) throws {
    let outcome = try dir.run(
      .unpack, "--salvage", "--lost", "maps", "-C", "out", "a.vma",
      environment: ["VMA_FAULT": "\(call):1:EIO"])
    #expect(outcome.ending == .exit(74))
    #expect(outcome.errors.contains("a: not restored") && !outcome.errors.contains("missing"))
    #expect(outcome.errors.contains("Input/output error"))
    try dir.expectNames(["disk-b.raw", "qemu-server.conf"], in: "out")
    try dir.expectNames(["disk-b.map"], in: "maps")
  }

  @Test("B6: if the archive cannot be read any further, earlier data is restored")
  func readError() throws {
    let outcome = try dir.run(
      .unpack, "--salvage", "--lost", "maps", "-C", "out", "a.vma",
      environment: ["VMA_FAULT": "read:1+:short=600000,read:4+:EIO"])
    #expect(outcome.ending == .exit(65))
    #expect(outcome.errors.contains("Input/output error"))
    #expect(dir.exists("out/disk-b.raw.partial"))
  }

  // MARK: Names and headers

  @Test("B6: names that plain unpacking accepts are accepted, too")
  func names() throws {
    let lengths = [239, 246]
    var archive = Archive(
      lengths.map { Archive.Disk(String(repeating: "n", count: $0), Self.other) },
      configs: [
        Archive.Config("disk-a.raw.partial", "x"), Archive.Config("disk-a.map", "y"),
        Archive.Config(String(repeating: "c", count: 255), "z"),
      ], perExtent: 5)
    archive.devices.append(Archive.Device(id: 3, name: "a", size: UInt64(Self.other.count)))
    archive.extents += Archive.extents(
      [Archive.slots(of: Self.other, device: 3)], order: .straight, perExtent: 5)
    let bytes = archive.bytes()
    try dir.write(bytes, to: "long.vma")
    let options = ["--salvage", "--lost", "out", "-C", "out"]
    try dir.run(.unpack, options + ["long.vma"]).succeeds()
    for length in lengths {
      let name = "disk-" + String(repeating: "n", count: length) + ".raw"
      try dir.expect("out/\(name)", holds: Self.other)
    }
    try dir.expect("out/disk-a.map", holds: Array("y".utf8))
    try dir.expect("out/disk-a.raw", holds: Self.other)

    // All drives are damaged: each gets a name that ends in .partial, and the config keeps its own.
    try dir.sh("rm -rf out").succeeds()
    var damaged = bytes
    let offsets = archive.extentOffsets()
    for extent in [1, 3, 5] { damaged[offsets[extent] + 30] ^= 1 }
    try dir.write(damaged, to: "long.vma")
    #expect(try dir.run(.unpack, options + ["long.vma"]).ending == .exit(65))
    let partial = try dir.names(in: "out").filter { $0.hasSuffix(".partial") }
    #expect(partial.count == 4)
    #expect(partial.allSatisfy { $0.utf8.count <= 255 })
    try dir.expect("out/disk-a.raw.partial", holds: Array("x".utf8))
  }

  @Test("B6: a flipped bit in a config leaves the drives, unproven")
  func header() throws {
    let bytes = try dir.read("a.vma")
    let text = Array(Sample.configText.utf8)
    let place = try #require(
      (0..<20_000).first { bytes[$0...].starts(with: text.prefix(20)) })
    var damaged = bytes
    damaged[place + 3] ^= 0x20
    try dir.write(damaged, to: "damaged.vma")
    let outcome = try dir.run(
      .unpack, "--salvage", "--lost", "maps", "-C", "out", "damaged.vma")
    #expect(outcome.ending == .exit(65))
    #expect(outcome.errors.contains("header checksum mismatch"))
    try dir.expect("out/disk-a.raw.partial", holds: Self.other)
    try dir.expect("out/disk-b.raw.partial", holds: Self.image)
    #expect(try map("maps/disk-a.map", of: Self.other).allSatisfy { $0 == "?" })
    #expect(dir.exists("out/qemu-server.conf.partial"))
    // The UUID is in every extent, too.
    damaged = bytes
    damaged[12] ^= 0xff
    try dir.write(damaged, to: "damaged.vma")
    try dir.sh("rm -rf out maps").succeeds()
    #expect(
      try dir.run(.unpack, "--salvage", "-C", "out", "damaged.vma").ending == .exit(65))
    try dir.expect("out/disk-b.raw.partial", holds: Self.image)
  }
}
