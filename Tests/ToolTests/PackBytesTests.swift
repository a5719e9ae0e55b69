// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("The same input gives the same bytes")
struct PackBytesTests {
  let dir: Scratch
  let image = Image.mixed(1_310_720, seed: 31)
  static let fixed = ["--uuid", "00112233-4455-6677-8899-aabbccddeeff", "--ctime", "1234567890"]

  init() throws {
    dir = try Scratch()
    try dir.write(image, to: "disk.img")
    try dir.write("cores: 2\n", to: "vm.conf")
  }

  private func pack(_ arguments: [String], environment: [String: String] = [:]) throws -> [UInt8] {
    try dir.run(.pack, arguments, environment: environment).succeeds().output
  }

  @Test func `UUID and ctime are used as given`() throws {
    let parsed = ParsedArchive(try pack(Self.fixed + ["d=disk.img"]))
    #expect(parsed.faults == [])
    #expect(parsed.uuid == stride(from: 0, through: 255, by: 17).map { UInt8($0) })
    #expect(parsed.ctime == 1_234_567_890)
    #expect(ParsedArchive(try pack(["--ctime=-5", "d=disk.img"])).ctime == -5)
    #expect(ParsedArchive(try pack(["--ctime=4294967296", "d=disk.img"])).ctime == 1 << 32)
  }

  @Test func `without them the UUID is random and the time is now`() throws {
    let archives = [
      ParsedArchive(try pack(["disk.img"])),
      // Empty is the same as unset.
      ParsedArchive(try pack(["disk.img"], environment: ["SOURCE_DATE_EPOCH": ""])),
    ]
    #expect(archives[0].uuid != archives[1].uuid)
    for archive in archives {
      #expect(abs(Date().timeIntervalSince1970 - Double(archive.ctime)) < 120)
    }
  }

  @Test func `SOURCE_DATE_EPOCH sets the time, --ctime has priority`() throws {
    let epoch = ["SOURCE_DATE_EPOCH": "86400"]
    #expect(ParsedArchive(try pack(["disk.img"], environment: epoch)).ctime == 86400)
    let both = try pack(["--ctime", "7", "disk.img"], environment: epoch)
    #expect(ParsedArchive(both).ctime == 7)
  }

  @Test func `holes or written zeros, file or pipe`() throws {
    try dir.sh("cp --sparse=always disk.img holes.img && cp --sparse=never disk.img full.img")
      .succeeds()
    #expect(try dir.allocated("holes.img") < dir.allocated("full.img"))
    let options = Self.fixed + ["-c", "vm.conf"]
    let expected = try pack(options + ["d=disk.img", "e=disk.img"])
    let sources = [
      ["d=holes.img", "e=full.img"], ["d=full.img", "e=holes.img"],
      ["--size", "d=1280K", "d=-", "e=disk.img"],
    ]
    for arguments in sources {
      let input = Input.pipe(arguments.contains("d=-") ? image : [])
      let outcome = try dir.run(.pack, options + arguments, input: input).succeeds()
      expectSame(outcome.output, expected, "\(arguments)")
    }
    let redirected = try dir.run(
      .pack, options + ["d=-", "e=disk.img"], input: .file(dir("holes.img")))
    expectSame(redirected.succeeds().output, expected, "standard input redirected")
    try dir.run(.pack, options + ["-o", "a.vma", "d=disk.img", "e=disk.img"]).succeeds()
    try dir.expect("a.vma", holds: expected)
  }

  @Test func `disks one after another, clusters ascending, no zero block`() throws {
    let parsed = ParsedArchive(try pack(["b=disk.img", "a=disk.img"]))
    #expect(parsed.faults == [])
    let expected = (1...2).flatMap { id in (0..<20).map { [id, $0] } }
    #expect(parsed.order.map { [$0.device, $0.cluster] } == expected)
    #expect(parsed.slotsPerExtent == [20, 20])
  }

  @Test func `threads change nothing`() throws {
    var random = Seeded(77)
    let words = (0..<64).map { _ in random.bytes(97) }
    var large = [UInt8]()
    while large.count < 5 << 20 { large += words[Int.random(in: 0..<64, using: &random)] }
    large.removeLast(large.count % 512)
    try dir.write(large, to: "large.img")
    let options = Self.fixed + ["-z", "--level", "1", "large.img"]
    let expected = try pack(["-T", "1"] + options)
    for threads in ["0", "2", "3"] {
      expectSame(try pack(["-T", threads] + options), expected, "-T \(threads)")
    }
  }

  @Test func `a higher level compresses better`() throws {
    let text = Array(String(repeating: "the quick brown fox and his packs\n", count: 40_000).utf8)
    var random = Seeded(4)
    let source = text.map { $0 ^ (random.next() % 31 == 0 ? 1 : 0) }
    try dir.write(source.prefix(1 << 20), to: "text.img")
    let fast = try pack(["-z", "--level", "1", "text.img"])
    let best = try pack(["-z", "--level", "19", "text.img"])
    #expect(best.count < fast.count)
    #expect(fast.count < 1 << 20)
  }
}
