// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// A disk that is sent in random pieces, and the expected archive: the first record of a sector
/// wins.
private struct Telling {
  let id: UInt8
  var image: [UInt8]
  private var isTold: [Bool]
  private var untold: Int

  init(id: UInt8, size: Int) {
    self.id = id
    image = Image.zeros(size)
    isTold = [Bool](repeating: false, count: size / 512)
    untold = isTold.count
  }

  var isWhole: Bool { untold == 0 }

  /// Sends one more piece, of any length and alignment, whether it was sent before or not.
  mutating func tell(in stream: inout EventStream, _ random: inout Seeded) {
    let all = isTold.count
    let longest = [1, 3, 8, 128, 300, 1000].randomElement(using: &random) ?? 1
    var first = Int.random(in: 0..<all, using: &random)
    // Sometimes a missing sector first, or the last one would take forever.
    if Int.random(in: 0..<3, using: &random) == 0 { first = isTold.firstIndex(of: false) ?? first }
    let count = min(Int.random(in: 1...longest, using: &random), all - first)
    let isZero = Int.random(in: 0..<3, using: &random) == 0
    let data = isZero ? Image.zeros(count * 512) : random.bytes(count * 512)
    let byGuest = Bool.random(using: &random)
    if isZero {
      stream.zeros(id, at: first * 512, count * 512, byGuest: byGuest)
    } else {
      stream.old(id, at: first * 512, data, byGuest: byGuest)
    }
    for sector in first..<first + count where !isTold[sector] {
      isTold[sector] = true
      untold -= 1
      let piece = data[(sector - first) * 512..<(sector - first + 1) * 512]
      image.replaceSubrange(sector * 512..<(sector + 1) * 512, with: piece)
    }
  }
}

@Suite("An event stream becomes the archive that it describes")
struct EventRoundTripTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  @Test(arguments: 0..<24)
  func `any pieces in any order, of several disks at once`(seed: UInt64) throws {
    var random = Seeded(seed)
    let sizes = [512, 65536, 66048, 540_672, 1_048_576, 131_072 - 512].shuffled(using: &random)
    var disks = (0..<Int.random(in: 1...3, using: &random)).map {
      Telling(id: UInt8([3, 254, 1][$0]), size: sizes[$0])
    }
    var stream = EventStream()
    for disk in disks { stream.device(disk.id, "disk-\(disk.id)", disk.image.count) }
    stream.begin()
    var open = Array(disks.indices)
    while let index = open.randomElement(using: &random) {
      disks[index].tell(in: &stream, &random)
      if disks[index].isWhole {
        // After the last sector, all data is repeated, and changes nothing.
        for _ in 0..<3 { disks[index].tell(in: &stream, &random) }
        stream.finish(disks[index].id)
        open.removeAll { $0 == index }
      }
    }
    stream.end()

    let archive = try dir.pack(stream)
    #expect(archive.devices.map(\.id) == disks.map { Int($0.id) }.sorted())
    for disk in disks {
      expectSame(try archive.image("disk-\(disk.id)"), disk.image, "seed \(seed) of \(disk.id)")
    }
  }

  @Test func `clusters are written in order, whatever the order of the stream`() throws {
    let image = Image.full(4 * clusterSize, seed: 1)
    var stream = EventStream()
    stream.device(1, "d", image.count)
    stream.begin()
    for place in [3 * clusterSize, 0, 2 * clusterSize] {
      stream.old(1, at: place, image[place..<place + clusterSize])
    }
    stream.old(1, at: clusterSize, image[clusterSize..<2 * clusterSize])
    stream.finish(1)
    stream.end()
    let archive = try dir.pack(stream)
    #expect(archive.order.map(\.cluster) == [0, 1, 2, 3])
    expectSame(try archive.image("d"), image)
  }

  @Test func `the largest payload`() throws {
    let image = Image.full(16 << 20, seed: 2)
    var stream = EventStream()
    stream.device(1, "d", image.count)
    stream.begin()
    stream.old(1, at: 0, image)
    stream.finish(1)
    stream.end()
    expectSame(try dir.pack(stream).image("d"), image)
  }

  @Test func `sixteen gibibytes of zeros in one record`() throws {
    var stream = EventStream()
    stream.device(1, "d", 1 << 34)
    stream.begin()
    stream.old(1, at: 512, [UInt8](repeating: 7, count: 512))
    stream.zeros(1, at: 0, 1 << 34)
    stream.finish(1)
    stream.end()
    try dir.run(.pack, "--events", "-o", "a.vma", input: .pipe(stream.bytes)).succeeds()
    try dir.run(.unpack, "-t", "a.vma").succeeds()
    let head = try dir.run(.cat, "--length", "2K", "a.vma", "d").succeeds().output
    expectSame(
      head, Image.zeros(512) + [UInt8](repeating: 7, count: 512) + Image.zeros(1024))
  }

  @Test(arguments: [512, 65536, 66048, 200_192, 131_072])
  func `the VM state is padded at its end`(size: Int) throws {
    let state = Image.full(size, seed: 3)
    let disk = Image.mixed(70_144, seed: 4)
    var stream = EventStream()
    stream.device(1, "vmstate", size)
    stream.device(2, "d", disk.count)
    stream.begin()
    var random = Seeded(5)
    var done = 0
    while done < size {
      let count = min(Int.random(in: 1...200, using: &random) * 512, size - done)
      stream.state(1, state[done..<done + count])
      done += count
      if done < size / 2 { stream.zeros(2, at: 69_632, 512) }
    }
    stream.finish(1)
    stream.old(2, at: 0, disk)
    stream.finish(2)
    stream.end()
    let archive = try dir.pack(stream)
    let clusters = (size + clusterSize - 1) / clusterSize
    expectSame(
      try #require(archive.images["vmstate"]),
      state + Image.zeros(clusters * clusterSize - size), "vmstate")
    #expect(archive.order.filter { $0.device == 1 }.map(\.cluster) == Array(0..<clusters))
  }

  @Test func `a VM state may be longer than declared`() throws {
    let state = Image.full(3 * clusterSize, seed: 6)
    var stream = EventStream()
    stream.device(9, "vmstate", 512)
    stream.begin()
    stream.state(9, state)
    stream.finish(9)
    stream.end()
    expectSame(try #require(try dir.pack(stream).images["vmstate"]), state)
    try dir.write(try dir.run(.pack, "--events", input: .pipe(stream.bytes)).output, to: "a.vma")
    try dir.run(.unpack, "-t", "a.vma").succeeds()
  }

  @Test func `only configs, or nothing at all`() throws {
    var stream = EventStream()
    stream.begin()
    stream.end()
    #expect(try dir.pack(stream).slotsPerExtent == [0])
    stream = EventStream()
    stream.config("a", [])
    stream.config("vm.conf", Array("x: 1\n".utf8))
    stream.config("large", Image.full(65535, seed: 1))
    stream.begin()
    stream.end()
    let configs = try dir.pack(stream).configs
    #expect(configs.map(\.name) == ["a", "vm.conf", "large"])
    expectSame(configs[2].data, Image.full(65535, seed: 1))
  }

  @Test func `the maximum number of configs and devices`() throws {
    var stream = EventStream()
    for number in 0..<255 { stream.config("c\(number)", [1]) }
    for number in 1...254 { stream.device(UInt8(number), "d\(number)", 512) }
    stream.begin()
    for number in (1...254).reversed() {
      stream.old(UInt8(number), at: 0, [UInt8](repeating: UInt8(number), count: 512))
      stream.finish(UInt8(number))
    }
    stream.end()
    let archive = try dir.pack(stream)
    #expect(archive.configs.count == 255)
    #expect(try archive.image("d200") == [UInt8](repeating: 200, count: 512))
  }

  @Test func `a config of the command line replaces one of the stream`() throws {
    try dir.write("new", to: "vm.conf")
    var stream = EventStream()
    stream.config("vm.conf", Array("old".utf8))
    stream.config("other", Array("kept".utf8))
    stream.device(1, "d", 512)
    stream.begin()
    stream.zeros(1, at: 0, 512)
    stream.finish(1)
    stream.end()
    for options in [["-c", "vm.conf"], ["-c", "vm.conf", "-c", "third=vm.conf"]] {
      let configs = Dictionary(
        uniqueKeysWithValues: try dir.pack(stream, options).configs.map {
          ($0.name, String(decoding: $0.data, as: UTF8.self))
        })
      var expected = ["vm.conf": "new", "other": "kept"]
      if options.count > 2 { expected["third"] = "new" }
      #expect(configs == expected)
    }
  }

  @Test func `the time: option, environment, begin, now`() throws {
    let stream = EventStream.of(Image.zeros(512))
    let epoch = ["SOURCE_DATE_EPOCH": "7"]
    #expect(try dir.pack(stream).ctime == 1_700_000_000)
    #expect(try dir.pack(stream, environment: epoch).ctime == 7)
    #expect(try dir.pack(stream, ["--ctime", "9"], environment: epoch).ctime == 9)
    var timeless = EventStream()
    timeless.begin(at: 0)
    timeless.end()
    let now = Int64(Date().timeIntervalSince1970)
    #expect(abs(try dir.pack(timeless).ctime - now) < 60)
  }

  @Test func `the same stream, UUID and time give the same bytes, and -z compresses them`() throws {
    let image = Image.mixed(400_384, seed: 9)
    let stream = EventStream.of(image)
    let options = ["--events", "--uuid", "0f684264-bd53-4ae5-989c-eeee86ce2eb9"]
    let first = try dir.run(.pack, options, input: .pipe(stream.bytes)).succeeds().output
    expectSame(
      try dir.run(.pack, options, input: .pipe(stream.bytes)).succeeds().output, first)
    // A stream in order gives the same result as the disk itself.
    try dir.write(image, to: "d.raw")
    expectSame(
      try dir.run(
        .pack, ["--uuid", options[2], "--ctime", "1700000000", "d=d.raw"]
      ).succeeds().output, first)
    try dir.write(stream.bytes, to: "events")
    try dir.sh("vma-pack --events -z < events | vma-cat - d > d.out; cmp d.out d.raw").succeeds()
  }

  @Test func `repeated data is counted`() throws {
    var stream = EventStream()
    stream.device(1, "d", 65536)
    stream.begin()
    stream.old(1, at: 0, Image.full(65536, seed: 1), byGuest: true)
    stream.old(1, at: 0, Image.full(1024, seed: 2))
    stream.zeros(1, at: 512, 1024, byGuest: true)
    stream.finish(1)
    stream.end()
    let outcome = try dir.run(
      .pack, "-v", "--events", "-o", "a.vma", input: .pipe(stream.bytes))
    #expect(outcome.ending == .exit(0))
    #expect(outcome.errors.contains("2 guest writes"))
    #expect(outcome.errors.contains("resent"))
  }

  @Test func `--pve uses the configs and devices of the stream`() throws {
    var stream = EventStream()
    stream.config("qemu-server.conf", Array("scsi0: store:vm-1-disk-0,size=64K\n".utf8))
    stream.device(1, "drive-scsi0", 65536)
    stream.begin()
    stream.zeros(1, at: 0, 65536)
    stream.finish(1)
    stream.end()
    let config = try #require(try dir.pack(stream, ["--pve"]).configs.first)
    #expect(String(decoding: config.data, as: UTF8.self).contains("#qmdump#map:scsi0:drive-scsi0:"))
  }
}
