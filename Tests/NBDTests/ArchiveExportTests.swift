// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("ARCHIVE is the URI of an NBD export")
struct ArchiveExportTests {
  let dir: Scratch
  let image = Image.mixed(6_000_128, seed: 701)
  let archive: [UInt8]

  init() throws {
    dir = try Scratch()
    try dir.write(image, to: "disk.img")
    archive = try dir.packed("d=disk.img")
    try dir.write(archive, to: "a.vma")
    // Several frames that state their sizes.
    try dir.sh(
      """
      set -e
      split -b 1000000 a.vma part.
      zstd -q part.*
      cat part.*.zst > a.vma.zst
      gzip -c a.vma > a.vma.gz
      """
    ).succeeds()
  }

  private func expectReadable(_ uri: String, _ comment: String) throws {
    let part = Array(image[3_000_001..<3_900_002])
    expectSame(try dir.run(.cat, uri).succeeds().output, image, comment)
    let range = ["--offset", "3000001", "--length", "\(part.count)"]
    expectSame(try dir.run(.cat, range + [uri, "d"]).succeeds().output, part, comment)
    try dir.run(.unpack, "-t", uri).succeeds()
    try dir.run(.unpack, "-t", "--quick", uri).succeeds()
    try dir.run(.unpack, "-f", uri).succeeds()
    expectSame(try dir.read("disk-d.raw"), image, comment)
    #expect(try dir.run(.unpack, "-l", uri).succeeds().text.contains("6000128"))
  }

  @Test(
    requires("nbdkit", "zstd", "gzip"), arguments: ["a.vma", "a.vma.zst", "a.vma.gz"],
    [["file"], ["--filter=noparallel", "file", "serialize=connections"]])
  func `compressed or not, on one connection or several`(file: String, server: [String]) throws {
    let server = try Server.nbdkit(dir, arguments: server + [file])
    try expectReadable(server.uri, file)
  }

  @Test(requires("nbdkit"))
  func `a server that only accepts complete blocks`() throws {
    // The archive has a size of whole blocks.
    let server = try Server.nbdkit(
      dir, "--filter=blocksize-policy", "file", "a.vma", "blocksize-minimum=512",
      "blocksize-preferred=4096", "blocksize-maximum=64K", "blocksize-error-policy=error")
    try expectReadable(server.uri, "blocks")
  }

  @Test(requires("qemu-nbd", "zstd", "gzip"), arguments: ["a.vma", "a.vma.zst", "a.vma.gz"])
  func `padding of qemu-nbd is ignored`(file: String) throws {
    let server = try Server.qemuNBD(dir, "-r", "-t", "-f", "raw", file)
    try expectReadable(server.uri, file)
  }

  @Test(requires("nbdkit", "zstd"))
  func `other bytes after the data, or many zeros, are an error`() throws {
    let bytes = try dir.read("a.vma.gz")
    try dir.write(bytes + Image.zeros(512), to: "zeros.gz")
    try dir.write(bytes + [0, 0, 1], to: "other.gz")
    for name in ["zeros", "other"] {
      let server = try Server.nbdkit(dir, arguments: ["file", "\(name).gz"], name: name)
      try dir.run(.unpack, "-t", server.uri).fails(65, .unpack, saying: "gzip")
    }
    try dir.write(bytes + [0, 0], to: "file.gz")
    try dir.run(.unpack, "-t", "file.gz").fails(65, .unpack, saying: "gzip")
  }

  @Test(requires("nbdkit", "zstd"), arguments: ["a.vma", "a.vma.zst"])
  func `a server that fails is 74 with URI and position`(file: String) throws {
    let server = try Server.nbdkit(
      dir, "--filter=error", "file", file, "error-pread=EIO", "error-pread-rate=100%",
      "error-pread-file=\(dir("trigger"))")
    try dir.run(.unpack, "-l", server.uri).succeeds()
    try dir.write("", to: "trigger")
    for arguments in [["-t"], ["-t", "--quick"], ["-l"]] {
      try dir.run(.unpack, arguments + [server.uri])
        .fails(74, .unpack, saying: "\(server.uri): at byte")
    }
    try dir.run(.cat, server.uri).fails(74, .cat, saying: server.uri)
    server.kill()
    try dir.run(.cat, server.uri).fails(66, .cat, saying: server.uri)
  }

  @Test(requires("nbdkit", "zstd"))
  func `a server that dies in the middle is 74, and no file appears`() throws {
    let server = try Server.nbdkit(
      dir, "-t", "1", "--filter=delay", "file", "a.vma", "delay-read=300ms")
    let running = try dir.start(.unpack, [server.uri])
    Thread.sleep(forTimeInterval: 0.9)
    server.kill()
    running.finish().fails(74, .unpack, saying: server.uri)
    #expect(!dir.exists("disk-d.raw"))
  }

  @Test(requires("nbdkit"))
  func `the file behind the export is not overwritten`() throws {
    let server = try Server.nbdkit(dir, "file", "a.vma")
    try dir.sh("vma-cat '\(server.uri)' 1<>a.vma").fails(64, .cat, saying: "both an output")
    expectSame(try dir.read("a.vma"), archive, "unchanged")
  }

  @Test(requires("nbdkit", "zstd"))
  func `only what is needed is transferred`() throws {
    let server = try Server.nbdkit(
      dir, "--filter=log", "file", "a.vma.zst", "logfile=log.txt")
    try dir.run(.cat, "--offset", "5M", "--length", "1", server.uri).succeeds()
    server.stop()
    let reads = String(decoding: try dir.read("log.txt"), as: UTF8.self)
      .split(separator: "\n").compactMap { line -> Int? in
        guard line.contains(" Read id="), let count = line.firstRange(of: "count=0x") else {
          return nil
        }
        return Int(line[count.upperBound...].prefix { $0.isHexDigit }, radix: 16)
      }
    let total = reads.reduce(0, +)
    #expect(total > 0 && total < archive.count, "\(reads)")
  }
}
