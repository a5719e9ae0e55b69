// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("vma-pack refuses invalid usage, and never changes existing files")
struct PackOptionTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Image.mixed(131_072, seed: 1), to: "disk.img")
    try dir.write("cores: 2\n", to: "vm.conf")
  }

  @Test(arguments: [
    [],
    ["-z"],
    ["--no-such-option", "disk.img"],
    ["a=disk.img", "a=disk.img"],
    ["disk1=disk.img", "disk.img"],
    ["vmstate=disk.img", "vmstate=disk.img"],
    ["--size", "a=512", "--size", "b=512", "a=-", "b=-"],
    ["--size", "other=512", "disk.img"],
    ["--size", "disk.img"],
    ["--size", "a", "a=-"],
    ["--size", "a=", "a=-"],
    ["--size", "a=12x", "a=-"],
    ["--size", "a=-512", "a=-"],
    ["--size", "a=99999999999T", "a=-"],
    ["--uuid", "1234", "disk.img"],
    ["--uuid", "0011223344556677-8899-aabbccddeeff-zz", "disk.img"],
    ["--ctime", "yesterday", "disk.img"],
    ["--ctime", "9223372036854775808", "disk.img"],
    ["-z", "--level", "fast", "disk.img"],
    ["-z", "--level", "23", "disk.img"],
    ["-z", "-T", "many", "disk.img"],
    ["-z", "--threads=-1", "disk.img"],
    ["--progress", "sometimes", "disk.img"],
  ])
  func `wrong usage is 64`(arguments: [String]) throws {
    try dir.run(.pack, arguments).fails(64, .pack)
    try dir.run(.pack, arguments + ["-o", "a.vma"]).fails(64, .pack)
    #expect(!dir.exists("a.vma"))
  }

  @Test func `a pipe needs a size`() throws {
    try dir.run(.pack, "d=-", input: .pipe([1])).fails(64, .pack, saying: "--size")
    try dir.sh("vma-pack d=<(cat disk.img)").fails(64, .pack, saying: "--size")
  }

  @Test func `no archive on a terminal`() throws {
    let outcome = try dir.run(.pack, "disk.img", output: .terminal)
    outcome.fails(64, .pack)
  }

  @Test(arguments: [
    ["missing.img"], ["d=missing.img"], ["disk.img", "missing.img"],
    ["-c", "missing.conf", "disk.img"], ["-c", "x=missing.conf", "disk.img"],
    ["-c", "vm.conf", "no/such/disk.img"],
  ])
  func `an input that cannot be opened is 66`(arguments: [String]) throws {
    try dir.run(.pack, arguments).fails(66, .pack)
    try dir.run(.pack, arguments + ["-o", "a.vma"]).fails(66, .pack)
    #expect(!dir.exists("a.vma"))
  }

  @Test func `a config over 65535 bytes is 65`() throws {
    try dir.write(Image.full(65536, seed: 1), to: "large.conf")
    try dir.run(.pack, "-c", "large.conf", "disk.img").fails(65, .pack, saying: "65535")
    try dir.run(.pack, "-o", "a.vma", "-c", "large.conf", "disk.img").fails(65, .pack)
    #expect(!dir.exists("a.vma"))
  }

  @Test func `an existing output is 73 unless forced`() throws {
    try dir.write("precious", to: "a.vma")
    try dir.run(.pack, "-o", "a.vma", "disk.img").fails(73, .pack, saying: "a.vma")
    try dir.expect("a.vma", holds: Array("precious".utf8))
    try dir.run(.pack, "-f", "-o", "a.vma", "disk.img").succeeds()
    try dir.run(.unpack, "-t", "a.vma").succeeds()
    try dir.expectNames(["a.vma", "disk.img", "vm.conf"])
  }

  @Test func `a forced output that fails leaves the old one`() throws {
    try dir.write("precious", to: "a.vma")
    try dir.sh("head -c 512 disk.img | vma-pack -f -o a.vma --size d=1K d=-").fails(65, .pack)
    try dir.expect("a.vma", holds: Array("precious".utf8))
    try dir.expectNames(["a.vma", "disk.img", "vm.conf"])
  }

  @Test func `a symlink as output exists, and is itself replaced`() throws {
    try dir.write("precious", to: "target")
    try dir.link("live.vma", to: "target")
    try dir.link("dangling.vma", to: "nowhere")
    for name in ["live.vma", "dangling.vma"] {
      try dir.run(.pack, "-o", name, "disk.img").fails(73, .pack)
      try dir.run(.pack, "-f", "-o", name, "disk.img").succeeds()
      #expect(try #require(dir.status(of: name)).st_mode & S_IFMT == S_IFREG)
    }
    try dir.expect("target", holds: Array("precious".utf8))
    #expect(!dir.exists("nowhere"))
  }

  @Test func `an output that cannot be created is 73`() throws {
    try dir.makeDirectory("folder")
    try dir.run(.pack, "-o", "no/such/a.vma", "disk.img").fails(73, .pack)
    try dir.run(.pack, "-o", "folder", "disk.img").fails(73, .pack)
    try dir.run(.pack, "-f", "-o", "folder", "disk.img").fails(73, .pack)
    try dir.run(.pack, "-o", "disk.img/a.vma", "disk.img").fails(73, .pack)
    try dir.expectNames([], in: "folder")
  }

  @Test func `a FIFO or a device is written directly`() throws {
    try dir.makeFIFO("out.fifo")
    try dir.sh("cat out.fifo > a.vma & vma-pack -o out.fifo disk.img; s=$?; wait; exit $s")
      .succeeds()
    #expect(ParsedArchive(try dir.read("a.vma")).faults == [])
    #expect(try #require(dir.status(of: "out.fifo")).st_mode & S_IFMT == S_IFIFO)
    try dir.run(.pack, "-o", "/dev/null", "disk.img").succeeds()
    try dir.run(.pack, "-o", "/dev/full", "disk.img").fails(74, .pack)
  }

  @Test(arguments: [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666)])
  func `an output has the mode that the umask allows`(mask: Int, mode: Int) throws {
    try dir.sh("umask \(String(mask, radix: 8)); vma-pack -o a.vma disk.img").succeeds()
    #expect(try #require(dir.status(of: "a.vma")).st_mode & 0o7777 == mode_t(mode))
  }

  @Test func `quiet, verbose and progress`() throws {
    try dir.run(.pack, "-q", "-o", "a.vma", "disk.img").succeeds()
    try dir.run(.pack, "--progress", "never", "-o", "b.vma", "disk.img").succeeds()
    try dir.run(.pack, "--progress", "auto", "-o", "c.vma", "disk.img").succeeds()
    let outcome = try dir.run(.pack, "-v", "-o", "d.vma", "disk.img")
    #expect(outcome.ending == .exit(0))
    #expect(!outcome.errors.isEmpty)
    #expect(outcome.output.isEmpty)
  }
}
