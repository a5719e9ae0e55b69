// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite("An index makes a zstd archive seekable", requires("zstd"))
struct IndexToolTests {
  let dir: Scratch

  private static let page =
    URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path + "/man/vma-unpack.1"

  /// `a.vma`, of programs; `d.raw`, its disk; and `a.vma.zst`, as Proxmox VE compresses it.
  private static let sample: Result<Scratch, any Error> = Result {
    let dir = try Scratch()
    try dir.sh(
      """
      cat $(command -v vma-pack vma-unpack vma-cat vma-to-tar) | head -c 72M > d.raw
      truncate -s 80M d.raw
      vma-pack d=d.raw > a.vma
      cat a.vma | zstd -q -3 --threads=1 > a.vma.zst
      """
    ).succeeds()
    return dir
  }

  init() throws {
    dir = try Scratch()
    try dir.sh("cp '\(Self.sample.get().path)'/* .").succeeds()
  }

  @Test func `test and index in one pass, then read ranges`() throws {
    let outcome = try dir.run(.unpack, "-t", "-v", "--index", "a.vma.zst")
    #expect(outcome.ending == .exit(0))
    #expect(outcome.errors.contains("jobs of 8.00 MiB, history of 256 KiB"))
    try dir.run(.unpack, "-t", "--quick", "a.vma.zst").succeeds()
    for (offset, length) in [(0, 100), (5_000_000, 70_000), (33_500_000, 200_000), (70_000_000, 9)]
    {
      try dir.sh(
        "vma-cat --offset \(offset) --length \(length) a.vma.zst d "
          + "| cmp - <(tail -c +\(offset + 1) d.raw | head -c \(length))"
      ).succeeds()
    }
    try dir.sh("vma-cat a.vma.zst d | cmp - d.raw").succeeds()
    try dir.sh("vma-to-tar a.vma.zst | tar -xO | cmp - d.raw").succeeds()
    // An older index is replaced.
    try dir.run(.unpack, "-t", "--index", "a.vma.zst").succeeds()
  }

  @Test func `opening decodes no data`() throws {
    try dir.run(.unpack, "-t", "--index", "a.vma.zst").succeeds()
    // Nothing is left of the archive but its first MiB and its end.
    let size = try dir.read("a.vma.zst").count
    #expect(size > 6 << 20)
    try dir.sh(
      "dd if=/dev/zero of=a.vma.zst bs=1M seek=1 count=\((size >> 20) - 2) conv=notrunc status=none"
    ).succeeds()
    try dir.run(.unpack, "-t", "--quick", "a.vma.zst").succeeds()
    try dir.run(.unpack, "-t", "a.vma.zst").fails(65, .unpack)
    let part = try dir.run(.cat, "--offset", "20M", "--length", "9", "a.vma.zst", "d")
    part.fails(65, .cat)
    #expect(part.errors.contains("match the index"))
  }

  @Test func `an index of another version is not used`() throws {
    try dir.run(.unpack, "-t", "--index", "a.vma.zst").succeeds()
    try dir.sh(
      "cp a.vma.zst.idx old.idx && (cat a.vma.zst; zstd -q < /dev/null) > b && mv b a.vma.zst"
    )
    .succeeds()
    let outcome = try dir.run(.cat, "--length", "9", "a.vma.zst", "d")
    #expect(outcome.ending == .exit(0))
    #expect(outcome.errors.contains("a.vma.zst.idx: is the index of another version"))
    expectSame(outcome.output, try dir.sh("head -c 9 d.raw").succeeds().output)
    for tool in [Tool.unpack, .cat] {
      let arguments = tool == .unpack ? ["-t"] : []
      try dir.run(tool, arguments + ["--index-file", "old.idx", "a.vma.zst"]).fails(65, tool)
    }
  }

  @Test func `an index appears only for a sound archive`() throws {
    try dir.sh("head -c 3000000 a.vma.zst > cut.vma.zst").succeeds()
    try dir.run(.unpack, "-t", "--index", "cut.vma.zst").fails(65, .unpack)
    try dir.sh("head -c 60000000 a.vma | zstd -q > short.vma.zst").succeeds()
    try dir.run(.unpack, "-t", "--index", "short.vma.zst").fails(65, .unpack)
    try dir.sh("[ \"$(echo *.idx)\" = '*.idx' ]").succeeds()
  }

  @Test func `only an index is replaced`() throws {
    try dir.write(Array("mine\n".utf8), to: "a.vma.zst.idx")
    try dir.run(.unpack, "-t", "--index", "a.vma.zst").fails(73, .unpack)
    expectSame(try dir.read("a.vma.zst.idx"), Array("mine\n".utf8))
    try dir.sh("mkfifo f; mkdir d").succeeds()
    for path in ["f", "d", "no/x", "-", "/dev/fd/1"] {
      let outcome = try dir.run(.unpack, "-t", "--index", "--index-file", path, "a.vma.zst")
      #expect([.exit(64), .exit(73)].contains(outcome.ending), "\(path): \(outcome.errors)")
    }
    try dir.run(.unpack, "-t", "--index", "--index-file", "a.vma.zst", "a.vma.zst")
      .fails(73, .unpack)
  }

  @Test func `what needs no index, and what cannot have one`() throws {
    let frames = "split -b 2M a.vma p. && zstd -q p.* && cat p.*.zst > x.vma && rm p.*"
    for command in ["cp a.vma x.vma", "lzop -1 -o x.vma a.vma", frames] {
      try dir.sh("rm -f x.vma; \(command)").succeeds()
      let outcome = try dir.run(.unpack, "-t", "--index", "x.vma")
      #expect(outcome.ending == .exit(0))
      #expect(outcome.errors == "vma-unpack: x.vma: needs no index\n", "\(command)")
    }
    try dir.sh("gzip -1 < a.vma > x.vma.gz; [ ! -e x.vma.idx ]").succeeds()
    try dir.run(.unpack, "-t", "--index", "x.vma.gz").fails(64, .unpack)
    let packed = try dir.read("a.vma.zst")
    try dir.run(.unpack, "-t", "--index", "--index-file", "i", input: .pipe(packed))
      .fails(64, .unpack)
    for arguments in [["--index"], ["--index", "-t", "--quick"]] {
      try dir.run(.unpack, arguments + ["a.vma.zst"]).fails(64, .unpack)
    }
  }

  @Test(arguments: ["changed", "missing"])
  func `salvage loses only the data between two points`(damage: String) throws {
    try dir.run(.unpack, "-t", "--index", "a.vma.zst").succeeds()
    try dir.sh("rm -rf out maps; mkdir maps").succeeds()
    var bytes = try dir.read("a.vma.zst")
    let place = bytes.count * 6 / 10
    if damage == "changed" {
      for index in place..<place + 3 { bytes[index] ^= 0x55 }
    } else {
      bytes.removeSubrange(place..<place + 100_000)
    }
    try dir.write(bytes, to: "a.vma.zst")
    try dir.run(.unpack, "--salvage", "--lost", "maps", "-C", "out", "a.vma.zst")
      .fails(65, .unpack, silent: false)
    // Prints the bytes that are not proven; all others must be right.
    let script = """
      import glob
      disk, found = open("d.raw", "rb").read(), open(glob.glob("out/*")[0], "rb").read()
      rest = 0
      for line in open(glob.glob("maps/*")[0]):
          words = line.split()
          if line.startswith("#") or len(words) != 3 or words[2] not in "+-?" or words[1] == "+":
              continue
          start, size = int(words[0], 0), int(words[1], 0)
          if words[2] != "+":
              rest += size
          elif disk[start:start + size] != found[start:start + size]:
              raise SystemExit("wrong data is proven at %d" % start)
      print(rest)
      """
    try dir.write(script, to: "check.py")
    let rest = try #require(Int(try dir.sh("python3 check.py").succeeds().text.dropLast()))
    #expect(rest > 1 << 20)
    #expect(rest <= 37 << 20)
  }

  @Test(.timeLimit(.minutes(2)))
  func `an index that is a FIFO is not waited for`() throws {
    try dir.sh("mkfifo a.vma.zst.idx").succeeds()
    let outcome = try dir.run(.unpack, "-t", "--quick", "a.vma.zst")
    #expect(outcome.ending == .exit(0))
    #expect(outcome.errors.contains("is not a regular file"))
    try dir.run(.cat, "--index-file", "a.vma.zst.idx", "a.vma.zst").fails(66, .cat)
  }

  @Test func `the recipe of the page removes indexes without an archive, and nothing else`() throws
  {
    let page = try String(contentsOfFile: Self.page, encoding: .utf8)
    let lines = page.split(separator: "\n", omittingEmptySubsequences: false)
    let start = try #require(lines.firstIndex { $0.hasPrefix("for index in") })
    let end = try #require(lines[start...].firstIndex(of: "done"))
    let script = lines[start...end].joined(separator: "\n")
      .replacingOccurrences(of: "\\-", with: "-")
    try dir.sh(
      "touch -- b.vma.zst 'c d.vma.zst' a.vma.zst.idx b.vma.zst.idx 'c d.vma.zst.idx' "
        + "gone.vma.zst.idx '-x y.vma.zst.idx' other.idx"
    ).succeeds()
    try dir.sh(script).succeeds()
    let left = try dir.sh("LC_ALL=C ls").succeeds().output
    #expect(
      String(decoding: left, as: UTF8.self)
        == "a.vma\na.vma.zst\na.vma.zst.idx\nb.vma.zst\nb.vma.zst.idx\nc d.vma.zst\n"
        + "c d.vma.zst.idx\nd.raw\nother.idx\n")
    // In an empty directory, too.
    try dir.sh("mkdir empty; cd empty; \(script)").succeeds()
  }
}
