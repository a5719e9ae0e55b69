// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

extension Scratch {
  /// Compresses a file with zstd in frames that contain their size.
  func makeFrames(of file: String, in packed: String, size: Int = 30_000) throws {
    try sh(
      """
      split -b \(size) --filter='cat > piece; zstd -qc piece' \(file) > \(packed); rm piece
      """
    ).succeeds()
  }
}

@Suite("Frames of zstd are decompressed by several threads", Requirements(["zstd", "pzstd"]))
struct ParallelTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.makeFrames(of: "a.vma", in: "frames")
    try dir.sh("pzstd -q -p 3 -k a.vma -o pzstd").succeeds()
  }

  @Test(arguments: ["frames", "pzstd"], [0, 1, 2, 3, 256])
  func `the result is the same for any number`(file: String, threads: Int) throws {
    for source in [file, "- < \(file)", "- < <(cat \(file))"] {
      try dir.sh("vma-unpack -tT\(threads) \(source)").succeeds()
      try dir.sh("rm -rf out; vma-unpack -T \(threads) -C out \(source)").succeeds()
      try dir.expectWhole(in: "out")
      try dir.sh(
        "rm -rf out; mkdir out; vma-to-tar --threads=\(threads) \(source) | tar -x -C out"
      ).succeeds()
      try dir.expectWhole(in: "out")
    }
    expectSame(
      try dir.run(.cat, "-T\(threads)", file, "scsi0").succeeds().output, Sample.scsi, file)
  }

  @Test func `other numbers are wrong usage`() throws {
    for number in ["-1", "257", "x"] {
      for tool in Tool.readers {
        try dir.run(tool, "--threads=\(number)", "frames").fails(64, tool, saying: "threads")
      }
    }
  }

  @Test func `damage is 65, with the message of one thread`() throws {
    let bytes = try dir.read("frames")
    for place in [2_000, bytes.count / 3, bytes.count / 2, bytes.count - 2] {
      var damaged = bytes
      damaged[place] ^= 0x41
      for (what, bytes) in [("flipped", damaged), ("cut", Array(bytes.prefix(place)))] {
        try dir.write(bytes, to: "damaged")
        let expected = try dir.run(.unpack, "-C", "out", "-T1", "damaged")
        expected.fails(65, .unpack, saying: "damaged: ")
        for threads in [2, 3] {
          let found = try dir.run(.unpack, "-C", "out", "-T\(threads)", "damaged")
          found.fails(65, .unpack, "\(what) at \(place)")
          #expect(found.errors == expected.errors)
          if dir.exists("out") { try dir.expectNames([], in: "out") }
        }
      }
    }
  }

  @Test func `a reader that needs only the start does not wait for the rest`() throws {
    let bytes = try dir.read("frames")
    let list = try dir.run(.unpack, "-l", "a.vma").succeeds().output
    let running = try dir.start(.unpack, ["-lT3", "-"], input: .open)
    running.send(bytes.prefix(bytes.count / 2))
    expectSame(running.finish(within: 20, closingInput: false).succeeds().output, list, "-l")
  }
}
