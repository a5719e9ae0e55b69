// SPDX-License-Identifier: Apache-2.0

import Testing

/// The frames of a compressed archive, as its seek table describes them.
private struct Frames {
  struct Frame: Equatable {
    var start: Int
    var size: Int
    var contentSize: Int
    var checksum: UInt32
  }

  private(set) var frames: [Frame] = []
  let bytes: [UInt8]

  init(_ bytes: [UInt8]) throws {
    self.bytes = bytes
    let end = bytes.count
    try #require(end > 17 && little(end - 4) == 0x8f92_eab1 && bytes[end - 5] == 0x80)
    let count = Int(little(end - 9))
    let tableStart = end - 17 - 12 * count
    try #require(tableStart > 0 && little(tableStart) == 0x184d_2a5e)
    #expect(little(tableStart + 4) == 12 * count + 9)
    var place = 0
    for index in 0..<count {
      let entry = tableStart + 8 + 12 * index
      frames.append(
        Frame(
          start: place, size: Int(little(entry)), contentSize: Int(little(entry + 4)),
          checksum: little(entry + 8)))
      place += Int(little(entry))
    }
    #expect(place == tableStart)
  }

  func little(_ place: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(bytes[place + $1]) << UInt32(8 * $1) }
  }

  func bytes(of frame: Frame) -> [UInt8] { Array(bytes[frame.start..<frame.start + frame.size]) }
}

@Suite("vma-pack -z writes frames for random access", requires("zstd"))
struct SeekableTests {
  let dir: Scratch
  static let fixed = ["--uuid-from", "test", "--ctime", "7"]

  init() throws {
    dir = try Scratch()
    // 8 MiB: a group is 3.7 MiB. Most clusters have some blocks of zeros.
    try dir.write(Image.mixed(8 << 20, seed: 5), to: "disk.img")
    try dir.sh("truncate -s 1G hole.img").succeeds()
  }

  private func pack(_ arguments: String...) throws -> [UInt8] {
    try dir.run(.pack, Self.fixed + arguments).succeeds().output
  }

  private func decompress(_ bytes: [UInt8]) throws -> [UInt8] {
    try dir.sh("zstd -dc", input: .pipe(bytes)).succeeds().output
  }

  @Test(arguments: [[], ["--frame-size", "4K"], ["--frame-size", "1000001"], ["--level", "9"]])
  func `zstd decompresses them to the same archive, and each on its own`(options: [String]) throws {
    let sources = ["d=disk.img", "h=hole.img"]
    let plain = try dir.run(.pack, Self.fixed + sources).succeeds().output
    let packed = try dir.run(.pack, Self.fixed + ["-z"] + options + sources).succeeds().output
    expectSame(try decompress(packed), plain, "all frames")
    let frames = try Frames(packed)
    var position = 0
    for frame in frames.frames {
      // Each frame has a checksum, and its size in its header.
      let bytes = frames.bytes(of: frame)
      #expect(bytes[4] & 0x04 != 0)
      #expect(bytes[4] & 0xe0 != 0)
      #expect(frames.little(frame.start + frame.size - 4) == frame.checksum)
      let content = Array(plain[position..<position + frame.contentSize])
      if position < 600_000 { expectSame(try decompress(bytes), content, "at \(position)") }
      position += frame.contentSize
    }
    #expect(position == plain.count)
  }

  @Test func `headers are in frames of their own, and data in frames of a limited size`() throws {
    let plain = try pack("d=disk.img", "h=hole.img")
    let parsed = ParsedArchive(plain)
    let headerSize = parsed.extents[0].offset
    for (option, limit) in [("3776K", 59 << 16), ("64K", 1 << 16), ("10000", 10_000)] {
      let frames = try Frames(try pack("-z", "--frame-size", option, "d=disk.img", "h=hole.img"))
      #expect(frames.frames[0].contentSize == headerSize)
      var expected: [Int] = [headerSize]
      var empty = 0
      for extent in parsed.extents {
        if extent.blocks.isEmpty {
          if empty == 64 { (empty, expected) = (0, expected + [64 * 512]) }
          empty += 1
          continue
        }
        if empty > 0 { (empty, expected) = (0, expected + [empty * 512]) }
        expected.append(512)
        let (full, rest) = extent.blocks.count.quotientAndRemainder(dividingBy: limit)
        expected += Array(repeating: limit, count: full) + (rest > 0 ? [rest] : [])
      }
      if empty > 0 { expected.append(empty * 512) }
      #expect(frames.frames.map(\.contentSize) == expected, "\(option)")
    }
    let whole = try Frames(try pack("-z", "d=disk.img", "h=hole.img"))
    let half = try Frames(try pack("-z", "--frame-size", "100G", "d=disk.img", "h=hole.img"))
    #expect(whole.bytes == half.bytes)
  }

  @Test func `the bytes do not depend on the threads`() throws {
    for options in [["-z"], ["-z", "--frame-size", "100K", "--level", "5"]] {
      let runs = try ["1", "2", "5", "1"].map { threads in
        try dir.run(
          .pack, Self.fixed + options + ["-T", threads, "d=disk.img", "e=disk.img"]
        ).succeeds().output
      }
      for run in runs.dropFirst() { expectSame(run, runs[0], "\(options)") }
    }
  }

  /// Its disks are in order, so that nothing must be buffered.
  @Test func `entire disks are read without temporary space`() throws {
    try dir.run(.pack, Self.fixed + ["-z", "-o", "a.zst", "d=disk.img", "e=disk.img"]).succeeds()
    let disk = try dir.read("disk.img")
    let options = ["--tmpdir", "/nonexistent", "a.zst"]
    for drive in ["d", "e"] {
      expectSame(try dir.run(.cat, options + [drive]).succeeds().output, disk, drive)
    }
    try dir.sh("vma-to-tar --tmpdir /nonexistent a.zst | tar -xf -").succeeds()
    try dir.expect("disk-e.raw", holds: disk)
  }

  @Test func `size 0 is one frame`() throws {
    let packed = try pack("-z", "--frame-size", "0", "d=disk.img")
    expectSame(try decompress(packed), try pack("d=disk.img"), "one frame")
    let list = try dir.sh("zstd -lv", input: .pipe(packed))
    #expect(list.errors + list.text != "")
    try dir.write(packed, to: "a.zst")
    let text = try dir.sh("zstd -l a.zst | tail -n 1").succeeds().text
    #expect(text.split(separator: " ").prefix(2) == ["1", "0"])
  }

  @Test(arguments: ["1", "4095", "-1", "x", "1Q", ""])
  func `other sizes are refused`(size: String) throws {
    try dir.run(.pack, "-z", "--frame-size=\(size)", "disk.img")
      .fails(64, .pack, saying: "--frame-size")
  }

  @Test func `the size requires compression`() throws {
    try dir.run(.pack, "--frame-size", "1M", "disk.img").fails(64, .pack, saying: "--zstd")
  }

  /// A reader never takes the frames of a failed run for a complete archive.
  @Test func `a source that fails`() throws {
    try dir.sh("head -c 6000000 disk.img | vma-pack -z --size d=8M d=- > a.zst")
      .fails(65, .pack)
    try dir.run(.unpack, "-t", "a.zst").fails(65, .unpack)
    try dir.sh("zstd -dc a.zst | vma-unpack -t").fails(65, .unpack)
  }
}
