// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// The programs whose output is recognized by its content.
enum Compressor: String, CaseIterable, Sendable, CustomTestStringConvertible {
  case zstd, gzip, xz, bzip2, lz4, lzop

  var testDescription: String { rawValue }

  /// A shell command that compresses standard input.
  var command: String { self == .zstd ? "zstd -qc" : "\(rawValue) -c" }

  static let all = requires("zstd", "gzip", "xz", "bzip2", "lz4", "lzop")
}

@Suite("Compressed archives are recognized by their content", Compressor.all)
struct CompressionTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
  }

  private func compress(_ compressor: Compressor) throws {
    try dir.sh("\(compressor.command) < a.vma > packed").succeeds()
    let packed = try dir.read("packed")
    #expect(packed.prefix(3) != Sample.wholeBytes.prefix(3))
  }

  @Test(arguments: Compressor.allCases)
  func `from a file, a redirection and a pipe`(compressor: Compressor) throws {
    try compress(compressor)
    let list = try dir.run(.unpack, "-l", "a.vma").succeeds().output
    for source in ["packed", "- < packed", "- < <(cat packed)"] {
      try dir.sh("vma-unpack -t \(source)").succeeds()
      try dir.sh("vma-unpack -t --quick \(source)").succeeds()
      expectSame(try dir.sh("vma-unpack -l \(source)").succeeds().output, list, "-l")
      expectSame(
        try dir.sh(
          "vma-cat \(source.replacingOccurrences(of: "- <", with: "- scsi0 <"))"
            + (source == "packed" ? " scsi0" : "")
        ).succeeds().output, Sample.scsi, source)
      try dir.sh("rm -rf out; vma-unpack -C out \(source)").succeeds()
      try dir.expectWhole(in: "out")
      try dir.sh("rm -rf out; mkdir out; vma-to-tar \(source) | tar -x -C out").succeeds()
      try dir.expectWhole(in: "out")
    }
  }

  @Test(arguments: Compressor.allCases)
  func `a pipe that delivers byte by byte`(compressor: Compressor) throws {
    try dir.write(Sample.smallBytes, to: "a.vma")
    try compress(compressor)
    let script = "{ for i in 1 2 3 4 5 6 7; do head -c 1; sleep 0.01; done; cat; } < packed"
    // A pipe is read in pieces; head reads one byte from a file and leaves the rest.
    try dir.sh("\(script) | vma-cat - > out").succeeds()
    try dir.expect("out", holds: Sample.smallImage)
  }

  @Test(arguments: Compressor.allCases)
  func `several frames in a row`(compressor: Compressor) throws {
    for cut in [1, 512, 12288, 400_000] {
      try dir.sh(
        """
        { head -c \(cut) a.vma | \(compressor.command)
          tail -c +\(cut + 1) a.vma | \(compressor.command); } > packed
        vma-unpack -t packed && vma-cat packed scsi0 > out
        """
      ).succeeds("cut at \(cut)")
      try dir.expect("out", holds: Sample.scsi)
    }
  }

  @Test(arguments: [
    (Compressor.zstd, "zstd -qc --long=27"), (.zstd, "zstd -q -19 -c"),
    (.zstd, "zstd -qc --no-check"), (.zstd, "zstd -qc -T2"), (.gzip, "gzip -1 -c"),
    (.gzip, "gzip -9nc"), (.xz, "xz -0 -c"), (.xz, "xz --check=none -c"),
    (.xz, "xz --check=sha256 -c"), (.bzip2, "bzip2 -1 -c"), (.lz4, "lz4 -9 -c"),
    (.lz4, "lz4 -c --content-size"), (.lzop, "lzop -9 -c"), (.lzop, "lzop -1 -c"),
  ])
  func `any level and option`(compressor: Compressor, command: String) throws {
    try dir.sh("\(command) < a.vma > packed").succeeds()
    expectSame(try dir.run(.cat, "packed", "scsi0").succeeds().output, Sample.scsi, command)
  }

  @Test(arguments: Compressor.allCases)
  func `a name in the frame's header is ignored`(compressor: Compressor) throws {
    guard compressor == .gzip || compressor == .lzop else { return }
    try dir.sh("\(compressor.rawValue) -k a.vma && vma-unpack -t a.vma.*z*").succeeds()
  }

  @Test func `a window over 128 MiB is 65 and reported`() throws {
    try dir.sh("zstd -qc --ultra --long=28 < <(cat a.vma) > packed").succeeds()
    try dir.run(.unpack, "-t", "packed").fails(65, .unpack, saying: "256")
    try dir.run(.cat, "packed", "scsi0").fails(65, .cat, saying: "256")
    try dir.sh("zstd -qc --long=27 < <(cat a.vma) > packed").succeeds()
    try dir.run(.unpack, "-t", "packed").succeeds()
  }

  @Test func `any other input is 65`() throws {
    let garbage: [[UInt8]] = [
      [], [0], Array("hello\n".utf8), Image.zeros(20_000), Image.full(20_000, seed: 3),
      Array("VMA".utf8), Array("VMAE".utf8) + Image.zeros(508),
    ]
    for bytes in garbage {
      try dir.write(bytes, to: "garbage")
      for tool in Tool.readers {
        let options = tool == .cat ? ["garbage", "x"] : ["garbage"]
        try dir.run(tool, options).fails(65, tool, "\(bytes.count) bytes")
        let piped = tool == .cat ? ["-", "x"] : []
        try dir.run(tool, piped, input: .pipe(bytes)).fails(65, tool)
      }
    }
  }

  @Test(arguments: Compressor.allCases)
  func `a compressed file without an archive is 65`(compressor: Compressor) throws {
    for content in ["printf ''", "printf hello", "head -c 20000 /dev/zero"] {
      try dir.sh("\(content) | \(compressor.command) > packed").succeeds()
      try dir.run(.unpack, "-t", "packed").fails(65, .unpack)
      try dir.run(.unpack, "-l", "packed").fails(65, .unpack)
    }
    // A file that is compressed twice may be accepted or refused, but quickly and in one line.
    try dir.sh("\(compressor.command) < a.vma | \(compressor.command) > packed").succeeds()
    let twice = try dir.start(.unpack, ["-t", "packed"]).finish(within: 30)
    if twice.ending != .exit(0) { twice.fails(65, .unpack) }
  }
}

@Suite("Damage to a compressed archive is found", Compressor.all)
struct CompressionDamageTests {
  let dir: Scratch
  /// Data that compresses a little, so that frames have all their parts.
  static let image: [UInt8] = {
    var random = Seeded(21)
    let words = (0..<40).map { _ in random.bytes(61) }
    var image: [UInt8] = []
    while image.count < 65536 { image += words[Int.random(in: 0..<40, using: &random)] }
    return Array(image.prefix(65536))
  }()

  init() throws {
    dir = try Scratch()
    try dir.write(Archive([Archive.Disk("d", Self.image)]).bytes(), to: "a.vma")
  }

  private func compressed(_ compressor: Compressor) throws -> [UInt8] {
    try dir.sh("\(compressor.command) < a.vma > packed").succeeds()
    return try dir.read("packed")
  }

  /// The head and the tail byte by byte, and every 64th byte in between.
  private static func places(in count: Int) -> [Int] {
    let regions = (0..<64).map { $0 * count / 64 + count / 128 }
    return Set(Array(0..<min(24, count)) + regions + Array(max(0, count - 24)..<count)).sorted()
  }

  /// cli.md: 65, or if the damage cannot be detected, the disk is right.
  private func expectSafe(
    _ bytes: [UInt8], _ what: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Bool {
    try dir.write(bytes, to: "damaged")
    let outcome = try dir.run(.cat, "damaged")
    if outcome.ending == .exit(0) {
      outcome.succeeds(what, sourceLocation: sourceLocation)
      expectSame(outcome.output, Self.image, what, sourceLocation: sourceLocation)
      return false
    }
    outcome.fails(65, .cat, silent: false, what, sourceLocation: sourceLocation)
    return true
  }

  @Test(arguments: Compressor.allCases, 0..<4)
  func `a byte flipped in any region`(compressor: Compressor, part: Int) throws {
    let bytes = try compressed(compressor)
    var random = Seeded(UInt64(bytes.count))
    var found = 0
    let places = Self.places(in: bytes.count).filter { $0 % 4 == part }
    for place in places {
      var damaged = bytes
      damaged[place] ^= UInt8.random(in: 1...255, using: &random)
      if try expectSafe(damaged, "\(compressor) flipped at \(place)") { found += 1 }
    }
    // A few bytes of a header have no meaning; all other damage must be found.
    #expect(found * 10 >= places.count * 7)
  }

  @Test(arguments: Compressor.allCases)
  func `truncated anywhere`(compressor: Compressor) throws {
    let bytes = try compressed(compressor)
    let places =
      [1, 2, 3, 4, 5, 8, 16, 40, 1000] + (1...12).map { $0 * bytes.count / 13 }
      + [1, 2, 3, 4, 5, 8, 12, 16, 24].map { bytes.count - $0 }
    for place in places {
      let cut = Array(bytes.prefix(place))
      try dir.write(cut, to: "damaged")
      try dir.run(.unpack, "-t", "damaged").fails(65, .unpack, "\(compressor) cut at \(place)")
      try dir.run(.cat, "-", input: .pipe(cut)).fails(
        65, .cat, silent: false, "\(compressor) cut at \(place)")
    }
    #expect(!dir.exists("disk-d.raw"))
  }

  @Test(arguments: Compressor.allCases)
  func `anything after the end`(compressor: Compressor) throws {
    let bytes = try compressed(compressor)
    // Zeros, four at a time, belong to the format of xz.
    let zeros = Image.zeros(compressor == .xz ? 511 : 512)
    let tails: [[UInt8]] = [Array("garbage".utf8), [0xff], Image.full(5000, seed: 1), zeros]
    for tail in tails {
      let longer = bytes + tail
      try dir.write(longer, to: "damaged")
      let what = "\(compressor) and \(tail.count) bytes"
      try dir.run(.unpack, "-t", "damaged").fails(65, .unpack, what)
      try dir.run(.unpack, "-C", "out", input: .pipe(longer)).fails(65, .unpack, what)
      if dir.exists("out") { try dir.expectNames([], in: "out") }
    }
    // A complete second archive is garbage as well.
    try dir.write(bytes + bytes, to: "damaged")
    try dir.run(.unpack, "-t", "damaged").fails(65, .unpack, "\(compressor) doubled")
    try dir.write(bytes + (try dir.read("a.vma")), to: "damaged")
    try dir.run(.unpack, "-t", "damaged").fails(65, .unpack, "\(compressor) and plain")
  }

  @Test(arguments: Compressor.allCases)
  func `a damaged archive inside an intact frame`(compressor: Compressor) throws {
    let plain = try dir.read("a.vma")
    for bytes in [Array(plain.dropLast(1)), plain + [0], Array(plain.prefix(13_000))] {
      try dir.write(bytes, to: "a.vma")
      _ = try compressed(compressor)
      try dir.run(.unpack, "-t", "packed").fails(65, .unpack)
      try dir.run(.unpack, "-t", "--quick", "packed").fails(65, .unpack)
    }
  }
}
