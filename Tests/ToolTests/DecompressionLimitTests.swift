// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

@Suite("C4: one limit for the memory that any compressed file can require")
struct DecompressionLimitTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.smallBytes, to: "a.vma")
  }

  private static func crc32(_ bytes: some Sequence<UInt8>) -> UInt32 {
    ~bytes.reduce(~UInt32(0)) { sum, byte in
      (0..<8).reduce(sum ^ UInt32(byte)) { sum, _ in
        sum >> 1 ^ (sum & 1 == 1 ? 0xedb8_8320 : 0)
      }
    }
  }

  /// Changes the dictionary size in the header of an xz block at `start`.
  private func claim(_ code: UInt8, in bytes: inout [UInt8], at start: Int) throws {
    let size = (Int(bytes[start]) + 1) * 4
    let filter = try #require((start..<start + size).first { bytes[$0] == 0x21 })
    #expect(bytes[filter + 1] == 1)
    bytes[filter + 2] = code
    let sum = Self.crc32(bytes[start..<start + size - 4])
    for index in 0..<4 {
      bytes[start + size - 4 + index] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * index))
    }
  }

  private func expectRefused(_ bytes: [UInt8], naming size: String) throws {
    try dir.write(bytes, to: "large")
    for tool in Tool.readers {
      let options = tool == .unpack ? ["-t", "large"] : ["large"]
      let outcome = try dir.run(tool, options)
      outcome.fails(65, tool, saying: size, "128 MiB", silent: false)
    }
  }

  // Dictionary sizes of xz are 2 or 3 times a power of two.
  @Test("C4: a dictionary of xz", Requirements(["xz"]))
  func xz() throws {
    try dir.sh("xz -0 -c a.vma > small; xz -0 -c --block-size=65536 a.vma > blocks").succeeds()
    let small = try dir.read("small")
    for (code, size) in [(UInt8(31), "192 MiB"), (32, "256 MiB"), (40, "4.00 GiB")] {
      var bytes = small
      try claim(code, in: &bytes, at: 12)
      try expectRefused(bytes, naming: size)
    }
    var largest = small
    try claim(30, in: &largest, at: 12)
    try dir.write(largest, to: "largest")
    try dir.run(.unpack, "-t", "largest").succeeds()
    // The second stream, and the second block.
    try dir.sh("{ head -c 20000 a.vma | xz -0; tail -c +20001 a.vma | xz -0; } > two").succeeds()
    let two = try dir.read("two")
    let magic: [UInt8] = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]
    let later: Range<Int> = 12..<two.count
    let second = try #require(later.first { place in two[place...].starts(with: magic) })
    var bytes = two
    try claim(31, in: &bytes, at: second + 12)
    try expectRefused(bytes, naming: "192 MiB")
    bytes = try dir.read("blocks")
    let header = Array(bytes[12..<14])
    let places: [Int] = Array(stride(from: 28, to: bytes.count - 20, by: 4))
    let block = try #require(
      places.first { place in
        let here = bytes[place..<place + 20]
        return here.starts(with: header) && here.dropFirst(2).contains(0x21)
      })
    try claim(33, in: &bytes, at: block)
    try expectRefused(bytes, naming: "384 MiB")
  }

  @Test("C4: a window of zstd", Requirements(["zstd"]))
  func zstd() throws {
    try dir.sh("zstd -qc --ultra --long=28 < <(cat a.vma) > large").succeeds()
    try expectRefused(try dir.read("large"), naming: "256 MiB")
    // A frame that is a single segment: the window is the content.
    let frame: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x20, 1, 0, 0]
    try expectRefused(frame, naming: "512 MiB")
    let frames = Array(try dir.sh("zstd -qc a.vma").succeeds().output) + frame
    try expectRefused(frames, naming: "512 MiB")
  }

  @Test("C4: a block of lzop", Requirements(["lzop"]))
  func lzop() throws {
    var bytes = try dir.sh("lzop -c < a.vma").succeeds().output
    // After the header, which contains no name.
    let block = 38
    #expect(bytes[block] == 0 && bytes[block + 1] <= 4)
    bytes.replaceSubrange(block..<block + 4, with: [0x10, 0, 0, 0])
    try expectRefused(bytes, naming: "256 MiB")
  }
}
