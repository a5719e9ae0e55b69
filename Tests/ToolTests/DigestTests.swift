// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// What happens to archives with digests when a bit changes.
@Suite("Digests find each changed bit of the data")
struct DigestTests {
  let dir: Scratch
  /// 30 groups of clusters, each with one block or none, and a small second disk.
  static let image: [UInt8] = {
    var image = Image.zeros(30 * 59 * clusterSize)
    for cluster in stride(from: 0, to: 30 * 59, by: 20) {
      let start = cluster * clusterSize + 4096 * (cluster % 16)
      image.replaceSubrange(start..<start + 4096, with: Image.full(4096, seed: UInt64(cluster)))
    }
    return image
  }()
  static let other = Image.full(3 * clusterSize + 512, seed: 7)
  static let packed: (bytes: [UInt8], archive: ParsedArchive)? = {
    do {
      let dir = try Scratch()
      try dir.write(image, to: "a.raw")
      try dir.write(other, to: "b.raw")
      let outcome = try dir.run(.pack, "--uuid-from", "test", "--ctime", "0", "a=a.raw", "b=b.raw")
      return (outcome.output, ParsedArchive(outcome.output))
    } catch {
      return nil
    }
  }()

  let bytes: [UInt8]
  let archive: ParsedArchive

  init() throws {
    dir = try Scratch()
    (bytes, archive) = try #require(Self.packed)
    try #require(archive.faults == [])
  }

  /// Every way to read all of disk `a`.
  private static let readers: [(tool: Tool, arguments: [String])] = [
    (.unpack, ["-t"]), (.unpack, ["-C", "out"]), (.unpack, ["-d", "a", "-C", "out"]),
    (.toTar, []), (.toTar, ["--no-sparse"]), (.toTar, ["-d", "a"]),
  ]

  /// Runs a reader over a file and a pipe.
  private func each(
    _ tool: Tool, _ arguments: [String], _ bytes: [UInt8], _ body: (Outcome, String) throws -> Void
  ) throws {
    try dir.write(bytes, to: "archive.vma")
    try body(try dir.run(tool, arguments + ["archive.vma"]), "file")
    try? FileManager.default.removeItem(atPath: dir("out"))
    let isCat = tool == .cat
    try body(
      try dir.run(
        tool, isCat ? ["-"] + arguments.dropFirst() : arguments + ["-"], input: .pipe(bytes)),
      "pipe")
    try? FileManager.default.removeItem(atPath: dir("out"))
  }

  /// The bytes with a bit of the data of an extent changed.
  private func flipped(extent: Int, at position: Int = 0) -> [UInt8] {
    var bytes = bytes
    bytes[archive.extents[extent].blocks.lowerBound + position] ^= 0x10
    return bytes
  }

  @Test func `digests follow 24 groups, the end of each disk, and all data`() throws {
    #expect(archive.digestCounts == [24: 24, 31: 6, 33: 1])
    #expect(archive.extents.count == 34)
  }

  @Test(arguments: [0, 17, 30])
  func `a changed bit of data is 65 for each reader of the disk`(extent: Int) throws {
    let bytes = flipped(extent: extent, at: 4095)
    for (tool, arguments) in Self.readers {
      try each(tool, arguments, bytes) { outcome, kind in
        outcome.fails(
          65, tool,
          saying: "extent \(extent) at byte \(archive.extents[extent].offset)",
          "data does not match its digest (damaged: a)", silent: false, "\(arguments), \(kind)")
        #expect(!dir.exists("out/disk-a.raw"), "\(arguments), \(kind)")
      }
    }
    for input in [Input.file(dir("archive.vma")), .pipe(bytes)] {
      try dir.run(.cat, "-", "a", input: input)
        .fails(65, .cat, saying: "extent \(extent) at byte", "(damaged: a)", silent: false)
    }
    try dir.run(.cat, "archive.vma", "a")
      .fails(65, .cat, saying: "extent \(extent) at byte", "(damaged: a)", silent: false)
    try dir.run(.unpack, "-t", "--quick", "archive.vma").succeeds()
    // The other disk is intact, and so is a range without the extent.
    expectSame(try dir.run(.cat, "archive.vma", "b").succeeds().output, Self.other)
    expectSame(try dir.run(.cat, "-", "b", input: .pipe(bytes)).succeeds().output, Self.other)
    try dir.run(.unpack, "-d", "b", "-C", "other", "archive.vma").succeeds()
    try dir.expect("other/disk-b.raw", holds: Self.other)
    try dir.run(.cat, "--length", "1M", "archive.vma", "a").succeeds()
  }

  @Test func `in place the message says that the target is incomplete`() throws {
    try dir.resize("target", to: Self.image.count)
    try dir.write(flipped(extent: 3), to: "archive.vma")
    try dir.run(.unpack, "--only", "a=target", "archive.vma")
      .fails(65, .unpack, saying: "does not match its digest", "target is incomplete")
  }

  @Test func `the intact archive passes, and -v says how much has digests`() throws {
    try each(.unpack, ["-t", "-v"], bytes) { outcome, _ in
      #expect(outcome.ending == .exit(0))
      #expect(outcome.errors.contains("digests match all data (552 KiB)"), "\(outcome.errors)")
    }
    try dir.write(bytes, to: "archive.vma")
    let quick = try dir.run(.unpack, "-t", "--quick", "-v", "archive.vma")
    #expect(quick.errors.contains("data is not read"), "\(quick.errors)")
    for (tool, arguments) in Self.readers {
      try each(tool, arguments, bytes) { outcome, _ in outcome.succeeds("\(arguments)") }
    }
    expectSame(try dir.run(.cat, "archive.vma", "a").output, Self.image)
    expectSame(try dir.run(.cat, "-", "a", input: .pipe(bytes)).output, Self.image)
  }

  @Test func `changed headers, and changed digests, are header errors`() throws {
    for (extent, place) in [(5, 0), (5, 60), (24, 7), (24, 41), (33, 9), (33, 60), (33, 511)] {
      var bytes = bytes
      bytes[archive.extents[extent].offset + place] ^= 1
      try each(.unpack, ["-t"], bytes) { outcome, _ in
        outcome.fails(65, .unpack, saying: "extent \(extent) at byte")
      }
    }
  }

  // MARK: Digests that do not match

  /// The bytes with other content of a digest extent, and a valid checksum.
  private func edited(_ extent: Int, _ change: (inout [UInt8]) -> Void) -> [UInt8] {
    let start = archive.extents[extent].offset
    var header = Array(bytes[start..<start + 512])
    change(&header)
    header.replaceSubrange(24..<40, with: Image.zeros(16))
    header.replaceSubrange(24..<40, with: MD5.digest(of: header))
    var bytes = bytes
    bytes.replaceSubrange(start..<start + 512, with: header)
    return bytes
  }

  @Test func `digests that lie are 65, unknown ones are ignored`() throws {
    // The count is the tenth free byte, in the second slot; the first digest starts at the 14th.
    let wrongCount = edited(24) { $0[50] = 23 }
    let manyCount = edited(24) { $0[50] = 255 }
    for bytes in [wrongCount, manyCount] {
      try each(.unpack, ["-t"], bytes) { outcome, _ in
        outcome.fails(65, .unpack, saying: "extent 24 at byte", "but 24 precede")
      }
      try dir.run(.cat, "archive.vma", "a").fails(65, .cat, saying: "extent 24", silent: false)
      try dir.run(.unpack, "-t", "--quick", "archive.vma").fails(65, .unpack, saying: "extent 24")
    }
    let wrongDigest = edited(24) { $0[60] ^= 1 }
    try each(.unpack, ["-t"], wrongDigest) { outcome, _ in
      outcome.fails(65, .unpack, saying: "data does not match its digest")
    }
    // Without the digests between, the others have the wrong number of extents; without all of
    // them, the archive has none.
    let wrongTag = edited(24) { $0[40] ^= 1 }
    try each(.unpack, ["-t"], wrongTag) { outcome, _ in
      outcome.fails(65, .unpack, saying: "extent 31 at byte", "digests of 6 extents, but 30")
    }
    var none = bytes
    for extent in [24, 31, 33] {
      for place in [40, 49] {
        let start = archive.extents[extent].offset
        let changed = edited(extent) { $0[place] ^= 0x40 }
        none.replaceSubrange(start..<start + 512, with: changed[start..<start + 512])
      }
    }
    try each(.unpack, ["-t", "-v"], none) { outcome, _ in
      #expect(outcome.ending == .exit(0), "\(outcome.errors)")
      #expect(outcome.errors.contains("no digests of the data"))
    }
  }

  @Test func `missing and repeated digests are 65`() throws {
    let last = archive.extents[33].offset
    let digests = Array(bytes[last...])
    for bytes in [Array(bytes[..<last]), bytes + digests] {
      try each(.unpack, ["-t"], bytes) { outcome, _ in
        outcome.fails(65, .unpack, saying: "extent 3", "digest")
      }
      try dir.run(.toTar, "archive.vma").fails(65, .toTar, silent: false)
    }
    // Only the data of disk b has none.
    try each(.unpack, ["-d", "a", "-C", "out"], Array(bytes[..<last])) { outcome, kind in
      outcome.succeeds(kind)
    }
    // Truncated within the last digests.
    try each(.unpack, ["-t"], bytes.dropLast()) { outcome, _ in
      outcome.fails(65, .unpack, saying: "511 of 512 bytes")
    }
  }

  @Test func `without digests an archive is as before`() throws {
    try dir.write(Self.image, to: "a.raw")
    let plain = try dir.run(.pack, "--no-digest", "--uuid-from", "test", "--ctime", "0", "a=a.raw")
    let parsed = ParsedArchive(plain.succeeds().output)
    #expect(parsed.faults == [] && parsed.digestCounts == [:])
    var flipped = plain.output
    flipped[parsed.extents[2].blocks.lowerBound] ^= 1
    for bytes in [plain.output, flipped] {
      try each(.unpack, ["-t", "-v"], bytes) { outcome, _ in
        #expect(outcome.ending == .exit(0))
        #expect(outcome.errors.contains("no digests of the data (356 KiB)"), "\(outcome.errors)")
      }
    }
  }

  @Test func `an archive of zeros has no digests`() throws {
    try dir.resize("zeros", to: 10 << 20)
    let outcome = try dir.run(.pack, "zeros").succeeds()
    #expect(ParsedArchive(outcome.output).digestCounts == [:])
    let test = try dir.run(.unpack, "-t", "-v", input: .pipe(outcome.output))
    #expect(test.errors.contains("no stored data"), "\(test.errors)")
  }

  @Test(requires("zstd")) func `compressed archives have digests, too`() throws {
    try dir.write(flipped(extent: 9), to: "archive.vma")
    try dir.sh("zstd -q archive.vma && vma-unpack -t archive.vma.zst")
      .fails(65, .unpack, saying: "extent 9 at byte", "(damaged: a)")
  }

  // MARK: Salvage

  private func salvage(_ bytes: [UInt8]) throws -> (map: String, other: String, errors: String) {
    try dir.write(bytes, to: "archive.vma")
    try? FileManager.default.removeItem(atPath: dir("maps"))
    let outcome = try dir.run(
      .unpack, "--salvage", "--lost", "maps", "-f", "-C", "out", "archive.vma")
    #expect(outcome.ending == .exit(65), "\(outcome.errors)")
    func signs(_ name: String) throws -> String {
      String(decoding: try dir.read("maps/\(name).map"), as: UTF8.self)
        .split(separator: "\n").dropFirst(4).compactMap { $0.last }.map(String.init).joined()
    }
    return (try signs("disk-a"), try signs("disk-b"), outcome.errors)
  }

  @Test func `salvage keeps such data as unproven`() throws {
    let (map, other, errors) = try salvage(flipped(extent: 9))
    #expect(Set(map) == ["+", "?"], "\(map)")
    #expect(other == "+")
    #expect(errors.contains("extent 9 at byte"), "\(errors)")
    #expect(dir.exists("out/disk-a.raw.partial") && dir.exists("out/disk-b.raw"))
  }

  /// Overwritten headers: the digests prove what surroundings cannot.
  @Test func `salvage proves data by digests, whatever is lost around it`() throws {
    var bytes = bytes
    let start = archive.extents[9].offset
    bytes.replaceSubrange(start..<start + 512, with: Image.full(512, seed: 1))
    let (map, other, _) = try salvage(bytes)
    // Extent 8 is not followed by an intact header, but has a digest.
    #expect(Set(map) == ["+", "-"], "\(map)")
    #expect(other == "+")
  }

  @Test func `data whose digest is lost is unproven`() throws {
    var bytes = bytes
    let start = archive.extents[33].offset
    bytes.replaceSubrange(start..<start + 512, with: Image.full(512, seed: 1))
    let (map, other, _) = try salvage(bytes)
    #expect(map == "+")
    #expect(other == "?")
    let cut = try salvage(Array(self.bytes[..<archive.extents[28].offset]))
    #expect(Set(cut.map) == ["+", "?", "-"], "\(cut.map)")
    #expect(cut.other == "-")
  }

  /// 0 wrong bytes marked as proven, wherever one byte changes.
  @Test(arguments: 0..<4 as Range<UInt64>)
  func `nothing wrong is proven`(seed: UInt64) throws {
    var random = Seeded(seed)
    var bytes = bytes
    let header = archive.extents[0].offset
    for _ in 0..<3 {
      let place = Int.random(in: header..<bytes.count, using: &random)
      bytes[place] ^= UInt8.random(in: 1...255, using: &random)
    }
    try dir.write(bytes, to: "archive.vma")
    _ = try dir.run(.unpack, "--salvage", "--lost", "maps", "-C", "out", "archive.vma")
    for (name, image) in [("disk-a", Self.image), ("disk-b", Self.other)] {
      let file = dir.exists("out/\(name).raw") ? "\(name).raw" : "\(name).raw.partial"
      let restored = try dir.read("out/\(file)")
      let map = String(decoding: try dir.read("maps/\(name).map"), as: UTF8.self)
      for line in map.split(separator: "\n").dropFirst(4) where line.hasSuffix("+") {
        let fields = line.split(separator: " ").compactMap { Int($0.dropFirst(2), radix: 16) }
        let range = fields[0]..<fields[0] + fields[1]
        #expect(restored[range] == image[range], "seed \(seed), \(name)")
      }
    }
  }
}
