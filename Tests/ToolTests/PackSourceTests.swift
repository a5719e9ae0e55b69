// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Sources that are pipes, or have a wrong size")
struct PackSourceTests {
  let dir: Scratch
  let image = Image.mixed(300_032, seed: 300)

  init() throws {
    dir = try Scratch()
    try dir.write(image, to: "disk.img")
  }

  @Test(arguments: [
    "cat disk.img | vma-pack --size d=300032 d=- > a.vma",
    "vma-pack d=- < disk.img > a.vma",
    "vma-pack --size d=300032 d=- < disk.img > a.vma",
    "vma-pack --size d=293K --pad d=<(cat disk.img) > a.vma",
    "mkfifo f; cat disk.img > f & vma-pack -o a.vma --size d=300032 d=f && wait",
    "{ head -c 1000; sleep 0.2; cat; } < disk.img | vma-pack --size d=300032 d=- > a.vma",
  ])
  func `a pipe, a FIFO or a redirection works like a file`(script: String) throws {
    try dir.sh(script).succeeds()
    let parsed = ParsedArchive(try dir.read("a.vma"))
    #expect(parsed.faults == [])
    expectSame(try parsed.image("d"), image)
  }

  @Test func `sizes have the suffixes K, M, G and T`() throws {
    for (size, bytes) in [("2K", 2048), ("1M", 1 << 20)] {
      try dir.resize("x", to: bytes)
      try dir.sh("cat x | vma-pack --size d=\(size) d=- > a.vma").succeeds()
      #expect(ParsedArchive(try dir.read("a.vma")).devices.first?.size == bytes)
    }
    // The larger ones by the size in the header, before the pipe turns out to be too short.
    for (size, bytes) in [("3G", 3 << 30), ("2T", 2 << 40)] {
      try dir.sh("cat x | vma-pack --size d=\(size) d=- > a.vma").fails(65, .pack)
      let list = try dir.run(.unpack, "-l", "--json", "a.vma").succeeds().text
      #expect(list.contains("\(bytes)"))
    }
  }

  @Test(arguments: [
    "vma-pack --size d=300544 d=-", "vma-pack --size d=299520 d=-", "vma-pack --size d=512 d=-",
    "vma-pack --size d=1M d=-", "vma-pack --pad --size d=300031 d=-",
  ])
  func `a pipe that is shorter or longer than declared`(command: String) throws {
    try dir.sh("cat disk.img | \(command) -o a.vma").fails(65, .pack)
    #expect(!dir.exists("a.vma"))
    let aborted = try dir.sh("cat disk.img | \(command)").fails(65, .pack, silent: false)
    try dir.write(aborted.output, to: "aborted.vma")
    try dir.run(.unpack, "-t", "aborted.vma").fails(65, .unpack)
    try dir.run(.unpack, "-t", input: .pipe(aborted.output)).fails(65, .unpack)
    try dir.run(.unpack, "-C", "out", "aborted.vma").fails(65, .unpack)
  }

  @Test func `a file whose size is not the declared one`() throws {
    for size in ["299520", "300544"] {
      try dir.run(.pack, "-o", "a.vma", "--size", "d=\(size)", "d=disk.img").fails(65, .pack)
      #expect(!dir.exists("a.vma"))
    }
  }

  @Test func `an empty source`() throws {
    try dir.write("", to: "empty")
    for options in [[], ["--pad"]] {
      try dir.run(.pack, options + ["-o", "a.vma", "empty"]).fails(65, .pack, saying: "empty")
    }
    #expect(!dir.exists("a.vma"))
  }

  @Test func `the header is written before any data is read`() throws {
    let running = try dir.start(.pack, ["--size", "d=300032", "d=-"], input: .open)
    #expect(running.wait { running.output.count >= 12288 })
    #expect(Array(running.output.prefix(4)) == Array("VMA\0".utf8))
    running.send(image)
    let outcome = running.finish().succeeds()
    let parsed = ParsedArchive(outcome.output)
    #expect(parsed.faults == [])
    expectSame(try parsed.image("d"), image)
  }

  @Test(arguments: [(299_520, "shrinks"), (300_544, "grows")])
  func `a file whose size changes while it waits`(size: Int, what: String) throws {
    let running = try dir.start(
      .pack, ["--size", "first=300032", "first=-", "second=disk.img"], input: .open)
    #expect(running.wait { running.output.count >= 12288 })
    try dir.resize("disk.img", to: size)
    running.send(image)
    let outcome = running.finish().fails(65, .pack, silent: false, what)
    try dir.run(.unpack, "-t", input: .pipe(outcome.output)).fails(65, .unpack)
  }

  @Test func `many pipes at once`() throws {
    try dir.sh(
      """
      vma-pack --size a=300032 --size b=300032 --size c=300032 \
        a=<(cat disk.img) c=- b=<(cat disk.img) < disk.img > a.vma
      """
    ).succeeds()
    let parsed = ParsedArchive(try dir.read("a.vma"))
    #expect(parsed.devices.map(\.name) == ["a", "c", "b"])
    for name in ["a", "b", "c"] { expectSame(try parsed.image(name), image, name) }
  }

  @Test(requires(.loopDevices))
  func `a block device`() throws {
    let device = try LoopDevice("disk.img", in: dir)
    try dir.run(.pack, "-o", "a.vma", "d=\(device.path)").succeeds()
    let parsed = ParsedArchive(try dir.read("a.vma"))
    #expect(parsed.faults == [])
    expectSame(try parsed.image("d"), image)
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func `interrupted, it leaves nothing and dies of the signal`(number: Int32) throws {
    try dir.makeDirectory("out")
    let running = try dir.start(
      .pack, ["-o", "out/a.vma", "--size", "d=300032", "d=-"], input: .open)
    running.send(image.prefix(150_000))
    #expect(running.wait { running.hasTakenAll })
    running.signal(number)
    #expect(running.finish(closingInput: false).ending == .signal(number))
    try dir.expectNames([], in: "out")
    try dir.expectNames(["disk.img", "out"])
  }

  @Test func `a full disk is 74`() throws {
    try dir.sh("vma-pack disk.img > /dev/full").fails(74, .pack)
    try dir.sh("vma-pack -z disk.img > /dev/full").fails(74, .pack)
    try dir.sh("trap '' XFSZ; ulimit -f 50; vma-pack -o a.vma disk.img").fails(74, .pack)
    #expect(!dir.exists("a.vma"))
  }

  @Test func `a reader that exits ends it silently`() throws {
    try dir.write(Image.full(4 << 20, seed: 4), to: "large.img")
    let outcome = try dir.sh("vma-pack large.img | head -c 1 > first; echo ${PIPESTATUS[0]}")
    #expect(outcome.lines == ["141"])
    #expect(outcome.errors.isEmpty)
  }
}
