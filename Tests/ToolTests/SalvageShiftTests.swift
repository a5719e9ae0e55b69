// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("--salvage does not report misplaced data as correct")
struct SalvageShiftTests {
  /// Bytes inserted by a bad medium or transfer inside an extent's data shift the rest of it, in
  /// the middle of the archive or at its end.
  @Test(arguments: [1, 100, 511, 512, 4095, 4096, 65536], [1, 3])
  func `B6 D: bytes inserted in the data of an extent`(count: Int, extent: Int) throws {
    let dir = try Scratch()
    let image = Image.full(12 * clusterSize, seed: 58)
    let archive = Archive([Archive.Disk("d", image)], perExtent: 3)
    var bytes = archive.bytes()
    bytes.insert(
      contentsOf: Image.full(count, seed: 59), at: archive.extentOffsets()[extent] + 512 + 5000)
    try dir.write(bytes, to: "broken.vma")
    let outcome = try dir.run(
      .unpack, "--salvage", "--lost", "maps", "-C", "out", "broken.vma")
    #expect(outcome.ending == .exit(65))
    let isWhole = dir.exists("out/disk-d.raw")
    let found = try dir.read("out/disk-d.raw" + (isWhole ? "" : ".partial"))
    #expect(found.count == image.count)
    let map = String(decoding: try dir.read("maps/disk-d.map"), as: UTF8.self)
    var right = 0
    for line in map.split(separator: "\n") where line.hasSuffix("+") {
      let numbers = line.split(separator: " ").prefix(2).compactMap {
        Int($0.dropFirst(2), radix: 16)
      }
      try #require(numbers.count == 2)
      let range = numbers[0]..<numbers[0] + numbers[1]
      expectSame(Array(found[range]), Array(image[range]), "bytes \(range)")
      right += range.count
    }
    // All other extents are intact.
    #expect(right >= 9 * clusterSize && right < 12 * clusterSize)
  }

  /// The extent is as long as its header states, up to the end of the file, so its end is present.
  @Test func `B6: bytes missing from the data of the last extent`() throws {
    let dir = try Scratch()
    let image = Image.full(6 * clusterSize, seed: 60)
    let archive = Archive([Archive.Disk("d", image)], perExtent: 3)
    var bytes = archive.bytes()
    let start = archive.extentOffsets()[1] + 512 + 5000
    bytes.removeSubrange(start..<start + 4096)
    try dir.write(bytes, to: "broken.vma")
    let outcome = try dir.run(.unpack, "--salvage", "--lost", "maps", "-C", "out", "broken.vma")
    #expect(outcome.ending == .exit(65))
    let map = String(decoding: try dir.read("maps/disk-d.map"), as: UTF8.self)
    let right = map.split(separator: "\n").filter { $0.hasSuffix("+") }
    #expect(
      right == ["0x00000000  0x00030000  +"] || right.count == 1 && right[0].contains("0x30000"))
    #expect(map.contains("?"))
    let found = try dir.read("out/disk-d.raw.partial")
    expectSame(
      Array(found[..<(3 * clusterSize)]), Array(image[..<(3 * clusterSize)]), "first extent")
  }
}
