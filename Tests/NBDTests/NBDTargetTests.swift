// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("NBD exports as targets, from nbdkit")
struct NBDTargetTests {
  private static let policy = "blocksize-error-policy=error"
  let dir: Scratch
  let image = Image.mixed(5_000_192, seed: 720)
  let other = Image.mixed(1_048_576, seed: 721)
  /// Larger than the disk, and full of data that must be replaced, or kept.
  let old = [UInt8](repeating: 0xff, count: 6_000_640)

  init() throws {
    dir = try Scratch()
    var archive = Archive([Archive.Disk("drive-scsi0", image), Archive.Disk("drive-scsi1", other)])
    archive.extents = Archive.extents(
      [Archive.slots(of: image, device: 1), Archive.slots(of: other, device: 2)],
      order: .interleaved, perExtent: 59)
    try dir.write(archive.bytes(), to: "a.vma")
    try dir.write(old, to: "t.img")
  }

  @Test(
    requires("nbdkit"),
    arguments: [
      ["file"], ["--filter=nozero", "file"],
      ["--filter=delay", "file", "wdelay=2ms", "delay-zero=2ms"],
      ["--filter=error", "file", "error-zero=EINVAL", "error-zero-rate=100%"],
      ["--filter=blocksize-policy", "file", "blocksize-maximum=64K", policy],
      ["--filter=blocksize-policy", "file", "blocksize-minimum=512", policy],
    ])
  func `a disk in any order, into an export that is larger`(arguments: [String]) throws {
    let server = try Server.nbdkit(dir, arguments: arguments + ["t.img"])
    try dir.run(.unpack, "-d", "scsi0", "-m", "scsi0=\(server.uri)", "a.vma").succeeds()
    server.stop()
    try dir.expect("t.img", holds: image + old[image.count...])
    #expect(try !dir.names().contains { $0.hasPrefix("disk") })
  }

  @Test(requires("nbdkit"))
  func `from a pipe into two exports and a file`() throws {
    try dir.write(old, to: "u.img")
    let first = try Server.nbdkit(dir, "file", "t.img", name: "s1")
    let second = try Server.nbdkit(dir, "file", "u.img", name: "s2")
    try dir.run(
      .unpack, "-m", "scsi0=\(first.uri)", "-m", "drive-scsi1=\(second.uri)",
      input: .pipe(try dir.read("a.vma"))
    ).succeeds()
    first.stop()
    second.stop()
    try dir.expect("t.img", holds: image + old[image.count...])
    try dir.expect("u.img", holds: other + old[other.count...])
    let third = try Server.nbdkit(dir, "file", "t.img", name: "s3")
    try dir.run(.unpack, "-C", "out", "-m", "scsi1=\(third.uri)", "a.vma").succeeds()
    try dir.expect("out/disk-drive-scsi0.raw", holds: image)
  }

  @Test(requires("nbdkit", "psktool"))
  func `over TLS`() throws {
    try dir.sh("psktool -u alice -p keys >/dev/null 2>&1").succeeds()
    let server = try Server.nbdkit(dir, "--tls=require", "--tls-psk=keys", "file", "t.img")
    let uri = "nbds+unix://alice@/?socket=s&tls-psk-file=keys"
    try dir.run(.unpack, "-d", "scsi0", "-m", "scsi0=\(uri)", "a.vma").succeeds()
    server.stop()
    try dir.expect("t.img", holds: image + old[image.count...])
  }

  @Test(requires("nbdkit"), arguments: [false, true])
  func `zeros are written by the server, only where needed, and flushed`(tellsZeros: Bool) throws {
    try dir.resize("empty.img", to: 8 << 30)
    try dir.run(.pack, "-o", "empty.vma", "scsi0=empty.img").succeeds()
    try dir.resize("old.img", to: 8 << 30)
    try dir.put(old, into: "old.img", at: 5 << 30)
    let server = try Server.nbdkit(
      dir,
      arguments: (tellsZeros ? [] : ["--filter=noextents"])
        + ["--filter=stats", "file", "old.img", "statsfile=stats"])
    try dir.run(.unpack, "-m", "scsi0=\(server.uri)", "empty.vma").succeeds()
    server.stop()
    try dir.sh("cmp -i 5G -n 8M empty.img old.img").succeeds()
    let stats = String(decoding: try dir.read("stats"), as: UTF8.self)
    #expect(stats.contains("\nzero: \(tellsZeros ? 1 : 32) ops"))
    #expect(stats.contains("\nflush: 1 ops"))
    #expect(!stats.contains("\nwrite: "))
  }

  @Test(requires("nbdkit"))
  func `several requests are in progress`() throws {
    try dir.write(Image.full(16 << 20, seed: 722), to: "full.img")
    try dir.run(.pack, "-o", "full.vma", "d=full.img").succeeds()
    let server = try Server.nbdkit(dir, "--filter=delay", "memory", "16M", "wdelay=400ms")
    let start = Date()
    try dir.run(.unpack, "-m", "d=\(server.uri)", "full.vma").succeeds()
    // One after another they would take 12.8 s.
    #expect(Date().timeIntervalSince(start) < 9)
  }

  // MARK: Refused before anything is written

  @Test(requires("nbdkit"))
  func `too small, read-only, or with unsuitable blocks`() throws {
    let refused = [
      (["memory", "4M"], "too small"), (["-r", "file", "t.img"], "read-only"),
      (["null", "0"], "too small"),
      (
        ["--filter=blocksize-policy", "file", "t.img", "blocksize-minimum=4096"],
        "block size 4096 "
      ),
    ]
    for (number, (arguments, word)) in refused.enumerated() {
      let server = try Server.nbdkit(dir, arguments: arguments, name: "s\(number)")
      try dir.run(.unpack, "-C", "out", "-m", "scsi0=\(server.uri)", "a.vma")
        .fails(73, .unpack, saying: server.uri, word)
      #expect(!dir.exists("out"))
    }
    try dir.expect("t.img", holds: old)
  }

  @Test func `no server`() throws {
    for uri in ["nbd+unix:///?socket=nobody", "nbd://127.0.0.1:1", "nbd://"] {
      try dir.run(.unpack, "-C", "out", "-m", "scsi0=\(uri)", "a.vma")
        .fails(73, .unpack, saying: uri)
    }
    try dir.expectNames(["a.vma", "t.img"])
  }

  @Test func `two drives, one export`() throws {
    // No connection is made: a server with one client would let it wait.
    let uri = "nbd+unix:///?socket=nobody"
    try dir.run(.unpack, "-m", "scsi0=\(uri)", "-m", "scsi1=\(uri)", "a.vma")
      .fails(64, .unpack, saying: uri)
  }

  // MARK: Failures later

  @Test(
    requires("nbdkit"),
    arguments: [
      ["--filter=error", "memory", "64M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%"],
      // If a server reports existing zeros, it gets no request to write them.
      [
        "--filter=error", "--filter=noextents", "memory", "64M", "error-zero=EIO",
        "error-zero-rate=100%",
      ],
      [
        "eval", "get_size=echo 67108864", "pwrite=[ $4 -lt 3000000 ] || exit 1; cat >/dev/null",
        "can_zero=echo none",
      ],
    ])
  func `a server that returns errors`(arguments: [String]) throws {
    let server = try Server.nbdkit(dir, arguments: arguments)
    try dir.run(.unpack, "-C", "out", "-m", "scsi0=\(server.uri)", "a.vma")
      .fails(74, .unpack, saying: "\(server.uri): at byte ")
    #expect(!dir.exists("out"))
  }

  @Test(requires("nbdkit"))
  func `a flush that fails`() throws {
    let server = try Server.nbdkit(
      dir, "eval", "get_size=echo 67108864", "pwrite=cat >/dev/null", "can_zero=echo none",
      "can_flush=exit 0", "flush=echo EIO torn >&2; exit 1")
    try dir.run(.unpack, "-C", "out", "-m", "scsi0=\(server.uri)", "a.vma")
      .fails(74, .unpack, saying: server.uri, "partly written")
    #expect(!dir.exists("out"))
  }

  @Test(requires("nbdkit", "psktool"), arguments: [false, true])
  func `a server that is killed`(withTLS: Bool) throws {
    try dir.sh("psktool -u alice -p keys >/dev/null 2>&1").succeeds()
    let server = try Server.nbdkit(
      dir,
      arguments: (withTLS ? ["--tls=require", "--tls-psk=keys"] : [])
        + ["--filter=delay", "memory", "64M", "wdelay=20ms"])
    let uri = withTLS ? "nbds+unix://alice@/?socket=s&tls-psk-file=keys" : server.uri
    let running = try dir.start(
      .unpack, ["-C", "out", "-m", "scsi0=\(uri)", "-"], input: .open)
    let bytes = try dir.read("a.vma")
    running.send(bytes.prefix(bytes.count / 2))
    #expect(running.wait { running.hasTakenAll })
    server.kill()
    usleep(100_000)
    running.send(bytes.suffix(bytes.count - bytes.count / 2))
    running.finish(within: 20).fails(74, .unpack, saying: uri, "partly written")
    #expect(!dir.exists("out"))
  }

  @Test(requires("nbdkit"))
  func `a damaged archive`() throws {
    let server = try Server.nbdkit(dir, "file", "t.img")
    let bytes = try dir.read("a.vma")
    try dir.run(
      .unpack, "-C", "out", "-m", "scsi0=\(server.uri)", input: .pipe(Array(bytes.dropLast(4096)))
    ).fails(65, .unpack, saying: server.uri, "partly written")
    server.stop()
    // Lost areas are not changed.
    let salvaging = try Server.nbdkit(dir, "file", "t.img", name: "s2")
    try dir.run(
      .unpack, "--salvage", "-C", "out", "-m", "scsi0=\(salvaging.uri)", "a.vma"
    ).succeeds()
    salvaging.stop()
    try dir.expect("t.img", holds: image + old[image.count...])
  }
}
