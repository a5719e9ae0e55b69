// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Devices that vma-pack copies itself, from a producer that holds no writes")
struct EventSourceTests {
  let dir: Scratch
  let image = Image.mixed(400_384, seed: 31)

  init() throws {
    dir = try Scratch()
    try dir.write(image, to: "d.raw")
  }

  private var started: EventStream {
    var stream = EventStream()
    stream.device(1, "d", image.count)
    stream.begin()
    return stream
  }

  @Test func `all from the source`() throws {
    var stream = started
    stream.finish(1)
    stream.end()
    let archive = try dir.pack(stream, ["d=d.raw"])
    expectSame(try archive.image("d"), image)
    #expect(archive.order.map(\.cluster) == Array(0..<7))
  }

  @Test func `all from the stream, though there is a source`() throws {
    try dir.write(Image.zeros(image.count), to: "d.raw")
    var stream = started
    stream.whole(1, image)
    stream.end()
    expectSame(try dir.pack(stream, ["d=d.raw"]).image("d"), image)
  }

  @Test(arguments: 0..<12)
  func `the source is read after the finish, and old data replaces it`(seed: UInt64) throws {
    var random = Seeded(seed)
    let running = try dir.start(.pack, ["--events", "d=d.raw"], input: .open)
    var stream = started
    var disk = image
    for _ in 0..<Int.random(in: 1...60, using: &random) {
      let longest = [1, 8, 200].randomElement(using: &random) ?? 1
      let first = Int.random(in: 0..<image.count / 512, using: &random)
      let count = min(Int.random(in: 1...longest, using: &random), image.count / 512 - first)
      let range = first * 512..<(first + count) * 512
      // The data of a second write to the same place is too new, and must be ignored.
      if disk[range].allSatisfy({ $0 == 0 }) {
        stream.zeros(1, at: range.lowerBound, range.count, byGuest: true)
      } else {
        stream.old(1, at: range.lowerBound, disk[range], byGuest: true)
      }
      disk.replaceSubrange(range, with: random.bytes(range.count))
    }
    running.send(stream.bytes)
    #expect(running.wait { running.hasTakenAll })
    // Only now do the writes happen, without waiting: the finish declares that they are over.
    try dir.put(disk, into: "d.raw", at: 0)
    let told = stream.bytes.count
    stream.finish(1)
    stream.end()
    running.send(stream.bytes[told...])
    let outcome = running.finish().succeeds("seed \(seed)")
    expectSame(try ParsedArchive(outcome.output).image("d"), image, "seed \(seed)")
  }

  @Test func `a source that shrinks after its tail was sent`() throws {
    for cut in [65536, 70_144, 399_872] {
      try dir.write(image, to: "d.raw")
      let running = try dir.start(.pack, ["--events", "d=d.raw"], input: .open)
      var stream = started
      stream.old(1, at: cut, image[cut...], byGuest: true)
      running.send(stream.bytes)
      #expect(running.wait { running.hasTakenAll })
      try dir.resize("d.raw", to: cut)
      let told = stream.bytes.count
      stream.finish(1)
      stream.end()
      running.send(stream.bytes[told...])
      let outcome = running.finish().succeeds("cut at \(cut)")
      expectSame(try ParsedArchive(outcome.output).image("d"), image, "cut at \(cut)")
    }
  }

  @Test func `a source that shrinks without notice`() throws {
    let running = try dir.start(.pack, ["--events", "d=d.raw"], input: .open)
    var stream = started
    running.send(stream.bytes)
    #expect(running.wait { running.hasTakenAll })
    try dir.resize("d.raw", to: 100_000)
    let told = stream.bytes.count
    stream.finish(1)
    stream.end()
    running.send(stream.bytes[told...])
    running.finish().fails(65, .pack, saying: "d.raw", silent: false)
  }

  @Test func `data after the declared end of a disk is ignored`() throws {
    let running = try dir.start(.pack, ["--events", "d=d.raw"], input: .open)
    var stream = started
    running.send(stream.bytes)
    #expect(running.wait { running.hasTakenAll })
    try dir.put([1, 2, 3], into: "d.raw", at: image.count + 5000)
    let told = stream.bytes.count
    stream.finish(1)
    stream.end()
    running.send(stream.bytes[told...])
    expectSame(try ParsedArchive(running.finish().succeeds().output).image("d"), image)
  }

  @Test func `a write cannot be announced without a descriptor for answers`() throws {
    var stream = started
    stream.write(1, at: 0, 512)
    stream.finish(1)
    stream.end()
    try dir.refuse(stream.bytes, ["d=d.raw"])
  }

  @Test func `a stream that ends before the finish`() throws {
    try dir.refuse(started.bytes, ["d=d.raw"])
  }

  @Test func `an undeclared or a missing source`() throws {
    let bytes = EventStream.of(image).bytes
    for operands in [["e=d.raw"], ["d=d.raw", "e=d.raw"], ["d.raw"], ["d=no.raw"]] {
      try dir.run(.pack, ["--events"] + operands, input: .pipe(bytes)).fails(66, .pack)
      try dir.run(.pack, ["--events", "-o", "a"] + operands, input: .pipe(bytes)).fails(66, .pack)
    }
    try dir.expectNames(["d.raw"])
  }

  @Test func `a source of another size is reported before the header`() throws {
    try dir.resize("more.raw", to: image.count + 512)
    try dir.resize("less.raw", to: image.count - 512)
    for name in ["more.raw", "less.raw"] {
      try dir.run(.pack, "--events", "d=\(name)", input: .pipe(EventStream.of(image).bytes))
        .fails(65, .pack, saying: name, "\(image.count)")
    }
  }

  @Test(arguments: [
    ["--events", "d=-"], ["--events", "-"], ["--events", "d=d.raw", "d=d.raw"],
    ["--events", "--size", "d=1K"], ["--events", "--pad"], ["--ack-fd", "3", "d.raw"],
    ["--tmpdir", ".", "d.raw"], ["--events", "--ack-fd", "2"], ["--events", "--ack-fd", "0"],
    ["--events", "--ack-fd", "-1"], ["--events", "--ack-fd=-1"],
    // Smaller numbers may be descriptors of another test, inherited by the child.
    ["--events", "--ack-fd", "1000"],
    ["--events", "--ack-fd", "x"], ["--events", "--ack-fd", "99999999999"],
    ["--events", "--ack-fd", "3", "d=d.raw"],
  ])
  func `wrong usage is 64`(arguments: [String]) throws {
    let input = Input.pipe(EventStream.of(image).bytes)
    try dir.run(.pack, arguments, input: input).fails(64, .pack)
    try dir.run(.pack, arguments + ["-o", "a.vma"], input: input).fails(64, .pack)
    #expect(!dir.exists("a.vma"))
  }

  @Test func `no stream from a terminal, no archive to one`() throws {
    try dir.run(.pack, "--events", input: .terminal).fails(64, .pack)
    try dir.run(
      .pack, "--events", input: .pipe(EventStream.of(image).bytes), output: .terminal
    ).fails(64, .pack)
  }

  @Test func `a reader that exits ends it silently, a full disk is 74`() throws {
    try dir.write(EventStream.of(Image.full(4 << 20, seed: 1)).bytes, to: "events")
    let outcome = try dir.sh("vma-pack --events < events | head -c 1 > x; echo ${PIPESTATUS[0]}")
    #expect(outcome.lines == ["141"])
    #expect(outcome.errors.isEmpty)
    try dir.run(.pack, "--events", input: .file(dir("events")), output: .append("/dev/full"))
      .fails(74, .pack)
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func `a stopped run leaves nothing`(number: Int32) throws {
    let running = try dir.start(.pack, ["--events", "-o", "a.vma", "d=d.raw"], input: .open)
    running.send(started.bytes)
    #expect(running.wait { running.hasTakenAll })
    usleep(20_000)
    running.signal(number)
    #expect(running.finish(closingInput: false).ending == .signal(number))
    try dir.expectNames(["d.raw"])
  }
}
