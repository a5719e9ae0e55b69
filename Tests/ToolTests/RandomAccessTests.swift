// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite("compressed archives are read at any offset", Requirements(["zstd", "lzop", "split"]))
struct RandomAccessTests {
  let dir: Scratch
  static let image = Image.mixed(3_000_320, seed: 811)
  static let plain = Archive(
    [Archive.Disk("d", image), Archive.Disk("e", Image.mixed(900_096, seed: 812))],
    order: .shuffled(seed: 9)
  ).bytes()
  static let names = ["frames.zst", "table.zst", "blocks.lzo"]

  init() throws {
    dir = try Scratch()
    try dir.write(Self.plain, to: "a.vma")
    try dir.sh(
      """
      set -e
      split -b 300000 -a 3 a.vma part.
      zstd -q part.???
      cat part.*.zst > frames.zst
      lzop -o blocks.lzo a.vma
      """
    ).succeeds()
    var table: [UInt8] = []
    for name in try dir.names().filter({ $0.hasPrefix("part.") && $0.hasSuffix(".zst") }).sorted() {
      let original = String(name.dropLast(4))
      for file in [name, original] { table += Self.little(Int(try dir.read(file).count)) }
    }
    try dir.write(
      dir.read("frames.zst") + Self.little(0x184d_2a5e) + Self.little(table.count + 9) + table
        + Self.little(table.count / 8) + [0] + Self.little(0x8f92_eab1), to: "table.zst")
    try dir.sh("rm part.*").succeeds()
  }

  private static func little(_ value: Int) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  @Test(arguments: names)
  func `every tool gives the same as without compression`(name: String) throws {
    expectSame(try dir.run(.cat, name, "d").succeeds().output, Self.image, name)
    // Without temporary space: it is seekable.
    let options = ["--tmpdir", "/nonexistent"]
    for (offset, length) in [(0, 1), (1_234_567, 500_000), (2_999_000, 9_999_999)] {
      let range = ["--offset", "\(offset)", "--length", "\(length)"]
      expectSame(
        try dir.run(.cat, options + range + [name, "d"]).succeeds().output,
        Array(Self.image.dropFirst(offset).prefix(length)), "\(name) \(range)")
    }
    expectSame(
      try dir.run(.toTar, name).succeeds().output,
      try dir.run(.toTar, "a.vma").succeeds().output, name)
    try dir.run(.unpack, "-t", name).succeeds()
    let quick = try dir.run(.unpack, "-t", "--quick", "-v", name)
    #expect(quick.ending == .exit(0))
    #expect(quick.errors.contains("data is not read"))
  }

  @Test(arguments: names)
  func `damage in requested data is 65, elsewhere it does not matter`(name: String) throws {
    var bytes = try dir.read(name)
    bytes[bytes.count - 300_000] ^= 0x10
    try dir.write(bytes, to: "bad")
    try dir.run(.cat, "bad", "d").fails(65, .cat, silent: false)
    try dir.run(.toTar, "bad").fails(65, .toTar, silent: false)
    try dir.run(.unpack, "-t", "bad").fails(65, .unpack)
  }

  @Test(arguments: names)
  func `a truncated archive is 65`(name: String) throws {
    let bytes = try dir.read(name)
    for count in [1, 4, 17, 1000, bytes.count / 2] {
      try dir.write(Array(bytes.dropLast(count)), to: "cut")
      // Without its table, or a part of it, the archive is still complete; the part is not.
      try dir.run(.unpack, "-t", "--quick", "cut").fails(65, .unpack)
      try dir.run(.cat, "cut", "d").fails(65, .cat, silent: false)
    }
  }

  @Test func `a seek table that lies never gives wrong data`() throws {
    let bytes = try dir.read("table.zst")
    var random = SeededGenerator(seed: 5)
    let tableStart = try dir.read("frames.zst").count
    for _ in 0..<40 {
      var mutated = bytes
      let place = Int.random(in: tableStart..<bytes.count, using: &random)
      mutated[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      try dir.write(mutated, to: "lie")
      let outcome = try dir.run(.cat, "lie", "d")
      if outcome.ending == .exit(0) {
        expectSame(outcome.output, Self.image, "byte \(place)")
      } else {
        outcome.fails(65, .cat, silent: false)
      }
    }
  }
}
