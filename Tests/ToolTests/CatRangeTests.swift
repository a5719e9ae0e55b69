// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("vma-cat --offset and --length cut like tail and head")
struct CatRangeTests {
  let dir: Scratch
  static let image = Image.mixed(327_680 + 1536, seed: 320)
  static let archives = [
    "straight.vma": Archive([Archive.Disk("d", image)]).bytes(),
    "shuffled.vma": Archive([Archive.Disk("d", image)], order: .shuffled(seed: 9)).bytes(),
  ]

  init() throws {
    dir = try Scratch()
    for (name, bytes) in Self.archives { try dir.write(bytes, to: name) }
  }

  @Test(
    arguments: [0, 1, 511, 4095, 4096, 65535, 65536, 70_000, 200_001, 329_215, 329_216],
    [nil, 0, 1, 4096, 65_537, 150_000, 10_000_000])
  func `any range from a file`(offset: Int, length: Int?) throws {
    for name in Self.archives.keys.sorted() {
      try expectRange(name, .nothing, offset, length)
    }
  }

  @Test(
    arguments: [0, 1, 65_535, 65_536, 200_001, 329_216], [nil, 0, 1, 4096, 150_000, 10_000_000])
  func `any range from a pipe`(offset: Int, length: Int?) throws {
    for name in Self.archives.keys.sorted() {
      try expectRange("-", .pipe(try #require(Self.archives[name])), offset, length)
    }
  }

  private func expectRange(
    _ operand: String, _ input: Input, _ offset: Int, _ length: Int?,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let expected = Array(Self.image.dropFirst(offset).prefix(length ?? .max))
    var arguments = ["--offset", "\(offset)"]
    if let length { arguments += ["--length", "\(length)"] }
    let outcome = try dir.run(.cat, arguments + [operand, "d"], input: input)
    outcome.succeeds(sourceLocation: sourceLocation)
    expectSame(outcome.output, expected, outcome.command, sourceLocation: sourceLocation)
  }

  @Test func `sizes have suffixes`() throws {
    let outcome = try dir.run(
      .cat, "--offset", "64K", "--length", "128K", "straight.vma", "d")
    expectSame(outcome.succeeds().output, Array(Self.image[65536..<196_608]))
    expectSame(
      try dir.run(.cat, "--length", "1T", "straight.vma").succeeds().output, Self.image)
  }

  @Test(arguments: ["329217", "1M", "1T", "9223372036854775807"])
  func `an offset beyond the end is 64`(offset: String) throws {
    try dir.run(.cat, "--offset", offset, "straight.vma", "d").fails(64, .cat)
    try dir.run(
      .cat, "--offset", offset, "-", "d",
      input: .pipe(try #require(Self.archives["straight.vma"]))
    ).fails(64, .cat)
  }
}

@Suite("Zeros become holes only where that is safe")
struct CatHoleTests {
  let dir: Scratch
  /// A megabyte of zeros in the middle, and zeros at the end.
  static let image =
    Image.full(65536, seed: 1) + Image.zeros(1 << 20) + Image.full(4096, seed: 2)
    + Image.zeros(1 << 20)
  static let bytes = Archive([Archive.Disk("d", image)]).bytes()

  init() throws {
    dir = try Scratch()
    try dir.write(Self.bytes, to: "a.vma")
  }

  @Test(arguments: ["vma-cat a.vma > out", "cat a.vma | vma-cat - > out"])
  func `a new file has holes and the exact size`(script: String) throws {
    try dir.sh(script).succeeds()
    try dir.expect("out", holds: Self.image)
    #expect(try dir.allocated("out") < 500_000)
  }

  @Test(arguments: ["vma-cat a.vma", "cat a.vma | vma-cat -"])
  func `a file positioned at its end has them, too`(command: String) throws {
    try dir.sh("{ printf abc; \(command); } > out").succeeds()
    try dir.expect("out", holds: Array("abc".utf8) + Self.image)
    #expect(try dir.allocated("out") < 500_000)
    try dir.sh("{ \(command); \(command); printf end; } > out").succeeds()
    try dir.expect("out", holds: Self.image + Self.image + Array("end".utf8))
  }

  @Test(arguments: ["vma-cat a.vma", "cat a.vma | vma-cat -"])
  func `a file opened for appending is appended to`(command: String) throws {
    try dir.write("abc", to: "out")
    try dir.sh("\(command) >> out").succeeds()
    try dir.expect("out", holds: Array("abc".utf8) + Self.image)
    try dir.sh("\(command) >> out").succeeds()
    try dir.expect("out", holds: Array("abc".utf8) + Self.image + Self.image)
  }

  @Test(arguments: ["vma-cat a.vma", "cat a.vma | vma-cat -"])
  func `old content is overwritten, also with zeros`(command: String) throws {
    let old = Image.full(Self.image.count + 1000, seed: 3)
    try dir.write(old, to: "out")
    try dir.sh("\(command) 1<> out").succeeds()
    try dir.expect("out", holds: Self.image + old.suffix(1000))
    try dir.write(old.prefix(200_000), to: "out")
    try dir.sh("\(command) 1<> out").succeeds()
    try dir.expect("out", holds: Self.image)
  }

  @Test func `zeros are written to a pipe`() throws {
    try dir.sh("vma-cat a.vma | cat > out && cat a.vma | vma-cat - | cmp - out").succeeds()
    try dir.expect("out", holds: Self.image)
  }

  @Test func `a range that ends in zeros has its size`() throws {
    try dir.sh("vma-cat --offset 100 --length 1M a.vma > out").succeeds()
    try dir.expect("out", holds: Array(Self.image[100..<100 + (1 << 20)]))
    try dir.sh("vma-cat --offset 2M a.vma > out").succeeds()
    try dir.expect("out", holds: Array(Self.image[(2 << 20)...]))
    #expect(try dir.allocated("out") < 100_000)
  }

  @Test func `a disk of zeros only`() throws {
    let zeros = Image.zeros(1 << 20)
    try dir.write(Archive([Archive.Disk("z", zeros)]).bytes(), to: "z.vma")
    try dir.sh("vma-cat z.vma > out; vma-cat z.vma | cat > piped").succeeds()
    try dir.expect("out", holds: zeros)
    try dir.expect("piped", holds: zeros)
    #expect(try dir.allocated("out") <= 4096)
  }

  @Test(requires(.loopDevices))
  func `no holes are made in a block device`() throws {
    try dir.write(Image.full(Self.image.count, seed: 4), to: "image")
    let device = try LoopDevice("image", in: dir)
    try dir.sh("vma-cat a.vma > \(device.path) && blockdev --flushbufs \(device.path)").succeeds()
    expectSame(try dir.sh("cat \(device.path)").output, Self.image)
  }
}
