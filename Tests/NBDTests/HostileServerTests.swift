// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("NBD servers that return wrong or unusual answers")
struct HostileServerTests {
  let dir: Scratch
  let image = Image.mixed(3_000_320, seed: 710)
  let expected: [UInt8]

  init() throws {
    dir = try Scratch()
    try dir.write(image, to: "disk.img")
    expected = try dir.packed("d=disk.img")
  }

  private static let hole: UInt32 = 1
  private static let zero: UInt32 = 2

  /// Correct and wrong ways to describe a disk that contains only data, none of which may lose any.
  private static let answers: [(String, @Sendable (UInt64, UInt32) -> [UInt32]?)] = [
    ("an error", { _, _ in nil }),
    ("an extent of no length", { _, _ in [0, 0] }),
    ("a zero of no length", { _, _ in [0, zero] }),
    ("one byte", { _, _ in [1, 0] }),
    ("a block at a time", { _, _ in [4096, 0] }),
    ("some and then none", { offset, _ in offset == 0 ? [1_000_448, 0] : [0, 0] }),
    ("more than was asked for", { _, length in [length, 0, 4_000_000_000, 0] }),
    ("all in tiny pieces", { _, length in (0..<length / 512).flatMap { _ in [512, 0] } }),
    ("a hole of unknown contents", { _, length in [length, hole] }),
    ("flags from the future", { _, length in [length, 0xffff_fff1] }),
  ]

  @Test(arguments: answers.indices)
  func `answers about holes`(index: Int) throws {
    let (what, answer) = Self.answers[index]
    var behaviour = FakeServer.Behaviour(image)
    behaviour.extents = answer
    let server = try FakeServer(dir, behaviour)
    defer { server.stop() }
    expectSame(try dir.packed("d=\(server.uri)"), expected, what)
  }

  /// libnbd disconnects; an error of the server does not affect the disk's data.
  @Test func `an invalid answer about holes`() throws {
    var behaviour = FakeServer.Behaviour(image)
    behaviour.extents = { _, _ in [] }
    let server = try FakeServer(dir, behaviour)
    defer { server.stop() }
    try dir.expectNoArchive(74, saying: "\(server.uri): at byte 0: ") { ["d=\(server.uri)"] }
  }

  @Test(arguments: [65_536, 131_072, 200_000])
  func `zeros with any alignment are not read`(step: Int) throws {
    var image = image
    for start in stride(from: 0, to: image.count, by: 2 * step) {
      let end = min(start + step, image.count)
      image.replaceSubrange(start..<end, with: Image.zeros(end - start))
    }
    try dir.write(image, to: "disk.img")
    var behaviour = FakeServer.Behaviour(image)
    // One extent at a time, as the protocol allows.
    behaviour.extents = { offset, _ in
      let rest = step - Int(offset) % step
      return [UInt32(rest), Int(offset) / step % 2 == 0 ? Self.zero | Self.hole : 0]
    }
    let server = try FakeServer(dir, behaviour)
    defer { server.stop() }
    expectSame(try dir.packed("d=\(server.uri)"), try dir.packed("d=disk.img"))
    #expect(server.bytesRead < image.count * 5 / 6)
  }

  @Test func `answers in another order`() throws {
    var behaviour = FakeServer.Behaviour(image)
    behaviour.reverses = 3
    let server = try FakeServer(dir, behaviour)
    defer { server.stop() }
    expectSame(try dir.packed("d=\(server.uri)"), expected)
  }

  @Test func `a size larger than the data`() throws {
    var behaviour = FakeServer.Behaviour(image)
    behaviour.size = 1 << 30
    let server = try FakeServer(dir, behaviour)
    defer { server.stop() }
    try dir.expectNoArchive(74, saying: "\(server.uri): at byte ") { ["d=\(server.uri)"] }
  }

  @Test func `a size beyond the format, and one beyond the protocol`() throws {
    for (size, code) in [(UInt64(1) << 62, Int32(65)), (UInt64.max - 511, 66)] {
      var behaviour = FakeServer.Behaviour(image)
      behaviour.size = size
      let server = try FakeServer(dir, behaviour)
      defer { server.stop() }
      try dir.run(.pack, "-o", "a.vma", server.uri).fails(code, .pack, saying: server.uri)
      #expect(!dir.exists("a.vma"))
      try FileManager.default.removeItem(atPath: dir("fake"))
    }
  }

  @Test(arguments: [0, 1_048_576, 2_097_152])
  func `a connection that ends in the middle of a reply`(bytes: Int) throws {
    var behaviour = FakeServer.Behaviour(image)
    behaviour.hangsUpAfter = bytes
    let server = try FakeServer(dir, behaviour)
    defer { server.stop() }
    try dir.expectNoArchive(74, saying: server.uri) { ["d=\(server.uri)"] }
  }

  @Test func `a reply with too few bytes`() throws {
    var behaviour = FakeServer.Behaviour(image)
    behaviour.omitted = 4096
    let server = try FakeServer(dir, behaviour)
    defer { server.stop() }
    try dir.expectNoArchive(74, saying: "\(server.uri): at byte 0: ") { ["d=\(server.uri)"] }
  }
}
