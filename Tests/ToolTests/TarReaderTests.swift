// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Every tar program reads the output of vma-to-tar")
struct TarReaderTests {
  let dir: Scratch
  static let python = """
    import sys, tarfile
    tarfile.open(sys.argv[1]).extractall("out")
    """

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.makeDirectory("out")
  }

  /// Each way of writing, from a file and from a pipe, each read by one command.
  private func check(
    _ options: [String], by reader: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let words = options.joined(separator: " ")
    let sources = ["vma-to-tar \(words) a.vma", "cat a.vma | vma-to-tar \(words)"]
    for source in sources {
      try dir.sh("rm -rf out t.tar; mkdir out; \(source) > t.tar && \(reader)")
        .succeeds(source, sourceLocation: sourceLocation)
      try dir.expectWhole(in: "out", sourceLocation: sourceLocation)
    }
  }

  static let everyWay = [
    [], ["--format", "pax"], ["--no-sparse"], ["--format", "gnutar"], ["--format", "ustar"],
    ["--format", "gnutar", "--no-sparse"],
  ]
  static let withoutSparse = [
    ["--no-sparse"], ["--format", "gnutar"], ["--format", "ustar"],
    ["--format", "ustar", "--no-sparse"],
  ]

  @Test(requires("tar"), arguments: everyWay)
  func `GNU tar`(options: [String]) throws { try check(options, by: "tar -xf t.tar -C out") }

  @Test(requires("bsdtar"), arguments: everyWay)
  func `bsdtar`(options: [String]) throws { try check(options, by: "bsdtar -xf t.tar -C out") }

  @Test(requires("python3"), arguments: everyWay)
  func `Python's tarfile`(options: [String]) throws {
    try dir.write(Self.python, to: "extract.py")
    try check(options, by: "python3 -W ignore extract.py t.tar")
  }

  @Test(requires("busybox"), arguments: withoutSparse)
  func `busybox, with nothing sparse`(options: [String]) throws {
    try check(options, by: "busybox tar -xf t.tar -C out")
  }

  @Test(requires("tar"), arguments: 0..<4)
  func `clusters in any order`(seed: UInt64) throws {
    let disks = [
      Archive.Disk("a", Image.mixed(2_621_952, seed: seed)),
      Archive.Disk("b", Image.mixed(66_048, seed: seed + 50)),
      Archive.Disk("c", Image.zeros(1 << 20)),
    ]
    let archive = Archive(disks, configs: [Sample.config], order: .shuffled(seed: seed))
    try dir.write(archive.bytes(), to: "b.vma")
    for (index, options) in ["", "--no-sparse", "--format gnutar"].enumerated() {
      try dir.sh(
        """
        mkdir f\(index) p\(index)
        vma-to-tar \(options) b.vma | tar -x -C f\(index)
        cat b.vma | vma-to-tar \(options) - | tar -x -C p\(index)
        """
      ).succeeds()
      for disk in disks {
        for target in ["f\(index)", "p\(index)"] {
          try dir.expect("\(target)/disk-\(disk.name).raw", holds: disk.image)
        }
      }
    }
  }

  @Test(requires("tar"), arguments: ["", "--format gnutar", "--no-sparse"])
  func `names that are not ASCII`(options: String) throws {
    let name = "größe-ディスク"
    let archive = Archive(
      [Archive.Disk(name, Sample.efi)], configs: [Archive.Config("ключ.conf", "text")])
    try dir.write(archive.bytes(), to: "b.vma")
    try dir.sh("vma-to-tar \(options) b.vma > t.tar && tar -xf t.tar -C out").succeeds()
    try dir.expect("out/disk-\(name).raw", holds: Sample.efi)
    try dir.expect("out/ключ.conf", holds: Array("text".utf8))
    try dir.sh("LC_ALL=C.UTF-8 vma-to-tar \(options) b.vma | cmp - t.tar").succeeds()
  }

  @Test(requires("tar"))
  func `names that are not UTF-8`() throws {
    var archive = Archive([Archive.Disk("x", Sample.efi)])
    archive.devices[0].blob = [0x61, 0xff, 0xfe, 0]
    try dir.write(archive.bytes(), to: "b.vma")
    // GNU tar may warn about a keyword.
    try dir.sh(
      "vma-to-tar b.vma | tar -x -C out 2> /dev/null && mv out/disk-a$'\\xff\\xfe'.raw plain"
    )
    .succeeds()
    try dir.expect("plain", holds: Sample.efi)
  }

  @Test(requires("tar"))
  func `a name of over a hundred bytes`() throws {
    let name = String(repeating: "long-", count: 40)
    try dir.write(Archive([Archive.Disk(name, Sample.efi)]).bytes(), to: "b.vma")
    for options in ["", "--format gnutar"] {
      try dir.sh("rm -rf out; mkdir out; vma-to-tar \(options) b.vma | tar -x -C out").succeeds()
      try dir.expect("out/disk-\(name).raw", holds: Sample.efi)
    }
  }

  @Test(requires("tar"))
  func `a sparse member is small in the tar and when extracted`() throws {
    var image = Image.zeros(100 << 20)
    image.replaceSubrange((50 << 20)..<(50 << 20) + 4096, with: Image.full(4096, seed: 1))
    try dir.write(Archive([Archive.Disk("d", image)]).bytes(), to: "b.vma")
    for source in ["vma-to-tar b.vma", "cat b.vma | vma-to-tar"] {
      try dir.sh("rm -rf out; mkdir out; \(source) > t.tar; tar -xf t.tar -C out").succeeds()
      try dir.expect("out/disk-d.raw", holds: image)
      #expect(try dir.read("t.tar").count < 1 << 20)
      #expect(try dir.allocated("out/disk-d.raw") < 1 << 20)
    }
  }

  @Test(requires("tar"), arguments: ["", "--format gnutar"])
  func `a disk over 8 GiB`(options: String) throws {
    let size = (9 << 30) + 512
    try dir.resize("disk.img", to: size)
    try dir.put(Image.full(4096, seed: 9), into: "disk.img", at: 8 << 30)
    try dir.sh("vma-pack -o b.vma disk.img").succeeds()
    // The entire disk if holes are stored; only its head if all zeros are.
    if options.isEmpty {
      try dir.sh(
        """
        vma-to-tar b.vma | tar -x -C out && cmp -i 8G disk.img out/disk-disk0.raw
        """
      ).succeeds()
      #expect(try #require(dir.status(of: "out/disk-disk0.raw")).st_size == off_t(size))
      try dir.sh("cat b.vma | vma-to-tar | tar -tv > list").succeeds()
    } else {
      // The last error is that of tar, whose input is truncated.
      let cut = try dir.sh(
        "vma-to-tar \(options) b.vma | head -c 65536 | tar -tv > list 2> /dev/null")
      #expect(cut.ending == .exit(2))
    }
    #expect(String(decoding: try dir.read("list"), as: UTF8.self).contains(" \(size) "))
  }

  @Test func `a disk over 8 GiB in ustar is 64 before anything is written`() throws {
    for (size, code) in [(8 << 30, 64), ((8 << 30) - 512, 0)] {
      try dir.resize("disk.img", to: size)
      try dir.sh("vma-pack -f -o b.vma disk.img").succeeds()
      if code == 64 {
        try dir.run(.toTar, "--format", "ustar", "b.vma").fails(64, .toTar)
        try dir.sh("cat b.vma | vma-to-tar --format ustar").fails(64, .toTar)
      } else {
        let head = try dir.sh("vma-to-tar --format ustar b.vma | head -c 512 | wc -c")
        #expect(head.text.contains("512"))
      }
    }
  }
}
