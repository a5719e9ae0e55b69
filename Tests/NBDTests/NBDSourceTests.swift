// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("NBD exports as sources, from nbdkit")
struct NBDSourceTests {
  private static let policy = "blocksize-error-policy=error"
  let dir: Scratch
  let image = Image.mixed(5_000_192, seed: 700)
  let expected: [UInt8]

  init() throws {
    dir = try Scratch()
    try dir.write(image, to: "disk.img")
    expected = try dir.packed("d=disk.img")
  }

  @Test(
    requires("nbdkit"),
    arguments: [
      ["file"], ["--filter=noextents", "file"], ["--filter=blocksize-policy", "file"],
      ["--filter=blocksize-policy", "file", "blocksize-maximum=128K", policy],
      ["--filter=delay", "file", "rdelay=2ms"], ["--no-sr", "file"], ["--oldstyle", "file"],
      ["-r", "--filter=extentlist", "file", "extentlist=extents"],
    ])
  func `the archive has the same bytes as from the file`(arguments: [String]) throws {
    try dir.write("0 5000192 0\n", to: "extents")
    let server = try Server.nbdkit(dir, arguments: arguments + ["disk.img"])
    try expectSame(dir.packed("d=\(server.uri)"), expected, "\(arguments)")
  }

  @Test(requires("nbdkit"))
  func `over TCP, with a name and a matching size`() throws {
    let port = try freePort()
    let server = try Server.nbdkit(
      dir, port: port, "--filter=exportname", "file", "disk.img", "exportname=vda",
      "exportname-strict=true")
    try expectSame(
      dir.packed("--size", "d=5000192", "d=\(server.uri)/vda"), expected, "over TCP")
    try dir.run(.pack, "-o", "a.vma", "\(server.uri)/vdb").fails(66, .pack, saying: server.uri)
  }

  @Test(requires("nbdkit", "psktool"))
  func `over TLS with a shared key`() throws {
    try dir.sh("psktool -u alice -p keys >/dev/null 2>&1").succeeds()
    let server = try Server.nbdkit(dir, "--tls=require", "--tls-psk=keys", "file", "disk.img")
    let uri = "nbds+unix://alice@/?socket=s&tls-psk-file=keys"
    try expectSame(dir.packed("d=\(uri)"), expected, "over TLS")
    try dir.run(.pack, "-o", "a.vma", server.uri).fails(66, .pack, saying: server.uri)
    try dir.sh("psktool -u alice -p other >/dev/null 2>&1").succeeds()
    let wrong = "nbds+unix://alice@/?socket=s&tls-psk-file=other"
    try dir.run(.pack, "-o", "a.vma", wrong).fails(66, .pack, saying: wrong)
  }

  @Test(requires("nbdkit", "certtool"))
  func `over TLS with a certificate`() throws {
    try dir.sh(
      """
      set -e
      exec 2> certtool.log
      mkdir server client
      certtool --generate-privkey --key-type=ecdsa --outfile ca-key.pem
      printf 'cn = test\\nca\\ncert_signing_key\\n' > ca.info
      certtool --generate-self-signed --load-privkey ca-key.pem --template ca.info \
        --outfile server/ca-cert.pem
      cp server/ca-cert.pem client
      certtool --generate-privkey --key-type=ecdsa --outfile server/server-key.pem
      printf 'cn = localhost\\ndns_name = localhost\\nip_address = 127.0.0.1\\ntls_www_server\\n' \
        > server.info
      certtool --generate-certificate --load-ca-certificate server/ca-cert.pem \
        --load-ca-privkey ca-key.pem --load-privkey server/server-key.pem \
        --template server.info --outfile server/server-cert.pem
      """
    ).succeeds()
    let port = try freePort()
    let server = try Server.nbdkit(
      dir, port: port, "--tls=require", "--tls-certificates=server", "file", "disk.img")
    let place = server.uri.dropFirst("nbd://".count)
    try expectSame(
      dir.packed("d=nbds://\(place)?tls-certificates=client"), expected, "over TLS")
  }

  @Test(requires("nbdkit"))
  func `several disks and a file, one archive`() throws {
    let other = Image.mixed(1_048_576, seed: 701)
    try dir.write(other, to: "other.img")
    let whole = try dir.packed("a=disk.img", "b=other.img", "c=disk.img")
    let first = try Server.nbdkit(dir, "file", "disk.img", name: "s1")
    let second = try Server.nbdkit(dir, "file", "other.img", name: "s2")
    try expectSame(
      dir.packed("a=\(first.uri)", "b=\(second.uri)", "c=disk.img"), whole, "two exports")
    // Two connections to one server.
    try expectSame(
      dir.packed("a=\(first.uri)", "b=other.img", "c=\(first.uri)"), whole, "one export twice")
  }

  @Test(requires("nbdkit"))
  func `holes are not read`() throws {
    try dir.resize("sparse.img", to: 32 << 30)
    try dir.put(Array("data".utf8), into: "sparse.img", at: 1 << 30)
    try dir.put(Array("more".utf8), into: "sparse.img", at: (30 << 30) + 12345)
    let server = try Server.nbdkit(
      dir, "--filter=stats", "file", "sparse.img", "statsfile=stats")
    try dir.run(.pack, "-z", "-o", "a.vma.zst", server.uri).succeeds()
    server.stop()
    let lines = try String(decoding: dir.read("stats"), as: UTF8.self).split(separator: "\n")
    #expect(lines.contains { $0.hasPrefix("read: 2 ops") && $0.contains(", 128.00 KiB,") })
    try dir.sh("vma-cat --offset 1G --length 4 a.vma.zst disk0 | grep -q data").succeeds()
    try dir.run(.unpack, "-t", "a.vma.zst").succeeds()
  }

  @Test(requires("nbdkit"))
  func `several requests are in progress`() throws {
    let server = try Server.nbdkit(dir, "--filter=delay", "pattern", "32M", "rdelay=400ms")
    let start = Date()
    try dir.run(.pack, "-o", "a.vma", server.uri).succeeds()
    // One after another they would take 12.8 s.
    #expect(Date().timeIntervalSince(start) < 9)
  }

  /// Announced writes make clusters be read out of order; nothing is read ahead.
  @Test(requires("nbdkit"))
  func `a live disk, read where a guest is about to write`() throws {
    var events: [UInt8] = []
    var sequence: UInt32 = 0
    func tell(_ type: Character, _ offset: Int = 0, _ length: Int = 0, _ payload: String = "") {
      let device: UInt8 = "DWF".contains(type) ? 1 : 0
      events += Array("CBE1\(type)".utf8) + [device, 0, 0]
      events += bigEndian(UInt64(offset)) + bigEndian(UInt64(length))
      events += bigEndian(UInt32(payload.utf8.count)) + bigEndian(sequence) + Array(payload.utf8)
      sequence += 1
    }
    tell("D", 0, image.count, "d")
    tell("B")
    for offset in [4_900_352, 1_000_448, 3_000_320, 512, 4_000_256] {
      tell("W", offset, 100_352 - 512)
    }
    tell("F")
    tell("E", Int(sequence))
    try dir.write(events, to: "events")
    let server = try Server.nbdkit(dir, "file", "disk.img")
    try dir.sh("vma-pack --events --ack-fd 3 'd=\(server.uri)' <events 3>answers >a.vma").succeeds()
    let parsed = ParsedArchive(try dir.read("a.vma"))
    #expect(parsed.faults == [])
    expectSame(try parsed.image("d"), image)
    #expect(try dir.read("answers").count == 6 * 8)
  }

  @Test(requires("nbdkit"))
  func `a size that is not a multiple of 512`() throws {
    try dir.write(image.prefix(1_000_001), to: "odd.img")
    let padded = try dir.packed("--pad", "d=odd.img")
    let server = try Server.nbdkit(dir, "file", "odd.img")
    try dir.run(.pack, "-o", "a.vma", server.uri).fails(65, .pack, saying: "--pad")
    try dir.run(.pack, "-o", "a.vma", "--pad", "--size", "d=1M", "d=\(server.uri)")
      .fails(65, .pack, saying: "1000001", "--size")
    #expect(!dir.exists("a.vma"))
    try expectSame(dir.packed("--pad", "d=\(server.uri)"), padded, "padded")
  }

  @Test(requires("nbdkit"))
  func `an empty export`() throws {
    let server = try Server.nbdkit(dir, "null", "0")
    try dir.run(.pack, "-o", "a.vma", server.uri).fails(65, .pack, saying: "empty")
    #expect(!dir.exists("a.vma"))
  }

  @Test(requires("nbdkit"))
  func `a VM state of any size`() throws {
    try dir.write(image.prefix(100_001), to: "state")
    let server = try Server.nbdkit(dir, "file", "state")
    try expectSame(
      dir.packed("vmstate=\(server.uri)"), dir.packed("vmstate=state"), "vmstate")
  }

  @Test(arguments: [
    "nbd+unix:///?socket=nobody", "nbd://127.0.0.1:1/x", "nbd://", "nbd+unix:///",
    "nbds+unix:///?socket=nobody", "nbd://[",
  ])
  func `no server`(uri: String) throws {
    try dir.run(.pack, "-o", "a.vma", "d=disk.img", "e=\(uri)").fails(66, .pack, saying: uri)
    #expect(!dir.exists("a.vma"))
  }

  @Test(
    requires("nbdkit"), .timeLimit(.minutes(1)),
    arguments: [
      ["--filter=error", "pattern", "64M", "error-pread=EIO", "error-pread-rate=100%"],
      [
        "eval", "get_size=echo 67108864",
        "pread=[ $4 -lt 33554432 ] || { echo EIO torn >&2; exit 1; }; head -c $3 /dev/urandom",
      ],
    ])
  func `a server that returns errors`(arguments: [String]) throws {
    // Each run has its own server: nbdkit 1.32 may abort when a client disconnects before all
    // answers have arrived.
    var servers: [Server] = []
    try dir.expectNoArchive(74, saying: ": at byte ") {
      let server = try Server.nbdkit(dir, arguments: arguments, name: "s\(servers.count)")
      servers.append(server)
      return ["d=disk.img", "e=\(server.uri)"]
    }
  }

  @Test(requires("nbdkit"), arguments: [true, false])
  func `a server that is killed`(withOutput: Bool) throws {
    let server = try Server.nbdkit(dir, "--filter=delay", "pattern", "512M", "rdelay=20ms")
    let running = try dir.start(
      .pack, withOutput ? ["-o", "a.vma", server.uri] : [server.uri])
    #expect(running.wait(atMost: 10) { withOutput || running.output.count > 1 << 20 })
    if withOutput { usleep(200_000) }
    server.kill()
    let outcome = running.finish(within: 20).fails(74, .pack, saying: server.uri, silent: false)
    #expect(!dir.exists("a.vma"))
    try dir.run(.unpack, "-t", input: .pipe(outcome.output)).fails(65, .unpack)
  }

  @Test(requires("nbdkit"), arguments: [SIGINT, SIGTERM])
  func `a signal while a server does not answer`(signal: Int32) throws {
    let server = try Server.nbdkit(dir, "--filter=delay", "pattern", "64M", "rdelay=60")
    let running = try dir.start(.pack, ["-o", "a.vma", server.uri])
    usleep(300_000)
    running.signal(signal)
    #expect(running.finish(within: 10).ending == .signal(signal))
    #expect(!dir.exists("a.vma"))
    server.kill()
  }
}
