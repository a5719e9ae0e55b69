// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite("NBD exports on thin storage, or of a file used otherwise")
struct ThinExportTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// A disk with a block of data in every second range of 128 KiB, so no 1 MiB of it is zeros.
  private func packScattered() throws -> [UInt8] {
    var image = Image.zeros(32 << 20)
    for start in stride(from: 0, to: image.count, by: 256 << 10) {
      image.replaceSubrange(start..<start + 4096, with: Image.full(4096, seed: UInt64(start)))
    }
    try dir.write(image, to: "d.img")
    try dir.sh("vma-pack -o a.vma d=d.img").succeeds()
    return image
  }

  @Test(
    "B5: short runs of existing zeros are not written",
    requires("qemu-nbd", "qemu-img"), arguments: ["vmdk", "qcow2", "raw"])
  func shortRuns(format: String) throws {
    _ = try packScattered()
    try dir.sh("qemu-img create -q -f \(format) t 32M").succeeds()
    for order in ["first", "again"] {
      let server = try Server.qemuNBD(dir, "-f", format, "t", name: order)
      try dir.run(.unpack, "-m", "d=\(server.uri)", "a.vma").succeeds()
      server.end()
      try dir.sh("qemu-img compare -q -f raw -F \(format) d.img t").succeeds()
      // 128 grains or clusters of 64 KiB.
      #expect(try dir.allocated("t") < 10 << 20)
    }
  }

  @Test("B5: clusters in any order over other content", requires("nbdkit"), arguments: 0..<3)
  func anyOrder(seed: UInt64) throws {
    let image = Image.mixed(8_000_000 / 512 * 512, seed: 560 + seed)
    let archive = Archive([Archive.Disk("d", image)], order: .shuffled(seed: seed))
    try dir.write(archive.bytes(), to: "a.vma")
    let old = Image.mixed(8 << 20, seed: 570 + seed)
    for (number, filter) in [[], ["--filter=noextents"], ["--filter=nozero"]].enumerated() {
      try dir.write(old, to: "t.img")
      let server = try Server.nbdkit(
        dir, arguments: filter + ["file", "t.img"], name: "s\(number)")
      try dir.run(.unpack, "-m", "d=\(server.uri)", "a.vma").succeeds()
      server.stop()
      try dir.expect("t.img", holds: image + old[image.count...])
    }
  }

  @Test("B5: with --target-is-zero no zeros are queried or written", requires("nbdkit"))
  func targetIsZero() throws {
    let image = try packScattered()
    try dir.resize("t.img", to: image.count)
    let server = try Server.nbdkit(dir, "--filter=stats", "file", "t.img", "statsfile=stats")
    try dir.run(.unpack, "--target-is-zero", "-m", "d=\(server.uri)", "a.vma").succeeds()
    server.stop()
    try dir.expect("t.img", holds: image)
    let stats = String(decoding: try dir.read("stats"), as: UTF8.self)
    #expect(!stats.contains("\nzero: ") && !stats.contains("\nextents: "))
  }

  @Test("B1: an export of the archive, or of an output file", requires("nbdkit"))
  func sameFile() throws {
    try dir.write(Image.full(1 << 20, seed: 580), to: "d.img")
    try dir.sh("vma-pack -o a.vma d=d.img; zstd -q a.vma").succeeds()
    let sound = try dir.read("a.vma.zst")
    let server = try Server.nbdkit(dir, "file", "a.vma.zst")
    for command in [
      "vma-unpack -m 'd=\(server.uri)' a.vma.zst", "vma-unpack -m 'd=\(server.uri)' - < a.vma.zst",
    ] {
      try dir.sh(command).fails(64, .unpack, saying: server.uri)
    }
    server.stop()
    try dir.expect("a.vma.zst", holds: sound)
    let source = try Server.nbdkit(dir, "-r", "file", "d.img", name: "s2")
    try dir.sh("vma-pack -fo d.img 'd=\(source.uri)'").fails(64, .pack, saying: source.uri)
    try dir.expect("d.img", holds: Image.full(1 << 20, seed: 580))
    for other in [
      "nbd+unix:///?socket=./s2", "nbds+unix:///?socket=\(dir("s2"))", "nbd+unix:///?socket=%73%32",
    ] {
      let two = Archive([Archive.Disk("a", Sample.efi), Archive.Disk("b", Sample.efi)])
      try dir.write(two.bytes(), to: "two.vma")
      try dir.run(.unpack, "-m", "a=\(source.uri)", "-m", "b=\(other)", "two.vma")
        .fails(64, .unpack)
    }
  }
}
