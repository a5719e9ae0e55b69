// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// An invalid value in the extents of `Sample.small`.
struct ExtentLie: Sendable, CustomTestStringConvertible {
  var testDescription: String
  var tell: @Sendable (inout Archive) -> Void

  init(_ description: String, _ tell: @escaping @Sendable (inout Archive) -> Void) {
    testDescription = description
    self.tell = tell
  }

  /// Replaces a field of the second extent, with a correct checksum.
  private init(_ description: String, _ edits: Edit...) {
    self.init(description) { $0.extents[1].edits = edits }
  }

  /// Changes a byte of the second extent after its checksum was computed.
  private init(_ description: String, wound offset: Int) {
    self.init(description) { $0.extents[1].wounds = [Edit(offset: offset, bytes: [0xa5])] }
  }

  private static func mask(_ bits: UInt16, blocks: Int) -> @Sendable (inout Archive) -> Void {
    { archive in
      archive.extents[1].slots[0]?.mask = bits
      archive.extents[1].slots[0]?.blocks = Image.full(blocks * blockSize, seed: 1)
    }
  }

  static let all: [ExtentLie] = [
    ExtentLie("magic", Edit(offset: 0, bytes: Array("VMAF".utf8))),
    ExtentLie("magic of zeros", Edit(offset: 0, bytes: Image.zeros(4))),
    ExtentLie("block_count 0", .big(6, UInt16(0))),
    ExtentLie("block_count one more") { archive in
      let count = archive.extents[1].slots[0]?.mask.nonzeroBitCount ?? 0
      archive.extents[1].edits = [.big(6, UInt16(count + 1))]
    },
    ExtentLie("block_count 945", .big(6, UInt16(945))),
    ExtentLie("block_count 65535", .big(6, UInt16.max)),
    ExtentLie("uuid", Edit(offset: 8, bytes: [0])),
    ExtentLie("uuid's last byte", Edit(offset: 23, bytes: [0])),
    ExtentLie("uuid of another archive", Edit(offset: 8, bytes: Image.full(16, seed: 4))),
    ExtentLie("an unknown device", Edit(offset: 43, bytes: [9])),
    ExtentLie("device 255", Edit(offset: 43, bytes: [255])),
    ExtentLie("device 0, so that the slot is none", Edit(offset: 43, bytes: [0])),
    ExtentLie("an unknown device in a second slot", Edit(offset: 40 + 8 * 58 + 3, bytes: [2])),
    ExtentLie("cluster just out of range", .big(44, UInt32(4))),
    ExtentLie("cluster 2^31", .big(44, UInt32(1 << 31))),
    ExtentLie("cluster 2^32 - 1", .big(44, UInt32.max)),
    ExtentLie("a cluster that came before", .big(44, UInt32(0))),
    ExtentLie("a cluster that is to come", .big(44, UInt32(2))),
    ExtentLie("a mask without its blocks", .big(40, UInt16.max)),
    ExtentLie("fewer mask bits than blocks") { archive in
      let mask = archive.extents[1].slots[0]?.mask ?? 0
      archive.extents[1].edits = [.big(40, mask & (mask &- 1))]
    },
    ExtentLie("the same cluster in two slots") { archive in
      archive.extents[1].slots.append(archive.extents[1].slots[0])
    },
    ExtentLie("a zero cluster beside the same with data") { archive in
      archive.extents[1].slots.append(Archive.Slot(device: 1, cluster: 1, mask: 0, blocks: []))
    },
    ExtentLie("a block wholly past the end") { archive in
      // 200704 bytes are 49 blocks: the last cluster has one.
      archive.extents[3].slots[0]?.mask = 0b10
      archive.extents[3].slots[0]?.blocks = Image.full(blockSize, seed: 5)
    },
    ExtentLie("all sixteen blocks of the last cluster") { archive in
      archive.extents[3].slots[0]?.mask = 0xffff
      archive.extents[3].slots[0]?.blocks = Image.zeros(clusterSize)
    },
    ExtentLie("an extent of zeros") { archive in
      archive.extents[1].wounds = [Edit(offset: 0, bytes: Image.zeros(512))]
    },
    ExtentLie("md5 of zeros") { archive in
      archive.extents[1].wounds = [Edit(offset: 24, bytes: Image.zeros(16))]
    },
    ExtentLie("the archive's own header again") { archive in
      archive.extents[1].wounds = [Edit(offset: 0, bytes: Array(Sample.smallBytes.prefix(512)))]
    },
    ExtentLie("an extent missing") { $0.extents.remove(at: 1) },
    ExtentLie("an extent twice") { $0.extents.append($0.extents[1]) },
    ExtentLie("magic, unsealed", wound: 1), ExtentLie("reserved, unsealed", wound: 4),
    ExtentLie("block_count, unsealed", wound: 7), ExtentLie("uuid, unsealed", wound: 12),
    ExtentLie("md5", wound: 30), ExtentLie("mask, unsealed", wound: 40),
    ExtentLie("slot's reserved byte, unsealed", wound: 42),
    ExtentLie("device, unsealed", wound: 43), ExtentLie("cluster, unsealed", wound: 47),
    ExtentLie("an unused slot, unsealed", wound: 511),
  ]
}

@Suite("Every invalid extent is 65")
struct HostileExtentTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// Every tool from a file and a pipe; no file appears, and the message is one line.
  private func expectRefused(
    _ bytes: [UInt8], _ comment: String = "", sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try dir.write(bytes, to: "a.vma")
    let runs: [(Tool, [String])] = [
      (.unpack, ["-t"]), (.unpack, ["-t", "--quick"]), (.unpack, ["-C", "out"]),
      (.cat, []), (.toTar, ["-o", "t.tar"]), (.toTar, ["--no-sparse"]),
    ]
    for (tool, arguments) in runs {
      let silent = tool != .cat && arguments != ["--no-sparse"]
      try dir.run(tool, arguments + ["a.vma"]).fails(
        65, tool, silent: silent, comment, sourceLocation: sourceLocation)
      try dir.run(tool, arguments + ["-"], input: .pipe(bytes)).fails(
        65, tool, silent: silent, comment, sourceLocation: sourceLocation)
    }
    #expect(!dir.exists("t.tar"), sourceLocation: sourceLocation)
    if dir.exists("out") {
      try dir.expectNames([], in: "out", sourceLocation: sourceLocation)
    }
  }

  @Test(arguments: ExtentLie.all)
  func `an invalid extent`(lie: ExtentLie) throws {
    var archive = Sample.small
    lie.tell(&archive)
    try expectRefused(archive.bytes())
  }

  @Test func `the line names the extent and its byte`() throws {
    var archive = Sample.small
    archive.extents[2].wounds = [Edit(offset: 24, bytes: Image.zeros(16))]
    let offset = Sample.small.extentOffsets()[2]
    try dir.write(archive.bytes(), to: "a.vma")
    try dir.run(.unpack, "-t", "a.vma").fails(65, .unpack, saying: "a.vma: ", "\(offset)")
    try dir.run(.cat, "a.vma").fails(65, .cat, saying: "\(offset)", silent: false)
  }

  @Test func `truncated at every boundary`() throws {
    let offsets = Sample.small.extentOffsets()
    var places: [Int] = []
    for offset in offsets.dropLast() {
      places += [0, 1, 4, 40, 511, 512, 513, 512 + 4095, 512 + 4096].map { offset + $0 }
    }
    places += [1, 4095, 4096].map { Sample.smallBytes.count - $0 }
    for place in Set(places).sorted() where place < Sample.smallBytes.count {
      let cut = Array(Sample.smallBytes.prefix(place))
      try dir.write(cut, to: "a.vma")
      try dir.run(.unpack, "-t", "a.vma").fails(65, .unpack, "cut at \(place)")
      try dir.run(.unpack, "-t", "--quick", "a.vma").fails(65, .unpack, "cut at \(place)")
      try dir.run(.unpack, "-C", "out", input: .pipe(cut)).fails(65, .unpack, "cut at \(place)")
      try dir.run(.cat, "a.vma").fails(65, .cat, silent: false, "cut at \(place)")
    }
    if dir.exists("out") { try dir.expectNames([], in: "out") }
  }

  @Test func `a second archive after the first`() throws {
    try expectRefused(Sample.smallBytes + Sample.smallBytes)
    try expectRefused(Sample.smallBytes + Sample.small.headerBytes())
    try expectRefused(Sample.smallBytes + [0])
    try expectRefused(Sample.smallBytes + Image.zeros(512))
  }

  @Test func `more of a VM state than memory`() throws {
    // The largest number, out of order: it must cost neither space nor time.
    var archive = Archive([Archive.Disk("vmstate", Sample.state)])
    let far = Archive.Slot(device: 1, cluster: .max, mask: 0, blocks: [])
    archive.extents.append(Archive.Extent([far]))
    let bytes = archive.bytes()
    try dir.run(.unpack, "-t", input: .pipe(bytes)).fails(65, .unpack)
    try dir.run(.unpack, "-C", "out", input: .pipe(bytes)).fails(65, .unpack)
  }
}

/// format.md, "What other tools get wrong": each of these made a restore fail.
@Suite("Cases that other tools get wrong")
struct KnownFaultTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  @Test func `an archive truncated between two extents`() throws {
    let whole = Archive([Archive.Disk("d", Sample.scsi)], perExtent: 4)
    var cut = whole
    cut.extents.removeLast()
    try dir.write(cut.bytes(), to: "a.vma")
    for options in [["-t"], ["-t", "--quick"], ["-C", "out"]] {
      try dir.run(.unpack, options + ["a.vma"]).fails(65, .unpack)
      try dir.run(.unpack, options, input: .pipe(cut.bytes())).fails(65, .unpack)
    }
  }

  @Test func `two disks whose clusters interleave`() throws {
    let disks = [Archive.Disk("a", Sample.scsi), Archive.Disk("b", Sample.efi)]
    try dir.write(Archive(disks, order: .interleaved).bytes(), to: "a.vma")
    try dir.run(.unpack, "-C", "out", "a.vma").succeeds()
    for disk in disks {
      try dir.expect("out/disk-\(disk.name).raw", holds: disk.image)
      expectSame(try dir.run(.cat, "a.vma", disk.name).succeeds().output, disk.image)
    }
  }

  @Test func `a disk of 540672 bytes`() throws {
    try dir.write(Archive([Archive.Disk("d", Sample.efi)]).bytes(), to: "a.vma")
    try dir.run(.unpack, "-C", "out", "a.vma").succeeds()
    #expect(try #require(dir.status(of: "out/disk-d.raw")).st_size == 540_672)
    #expect(try dir.run(.cat, "a.vma").succeeds().output.count == 540_672)
  }

  @Test func `packing an image whose size is not a multiple of 4096`() throws {
    for size in [512, 4608, 66_048] {
      try dir.write(Image.full(size, seed: 1), to: "d.img")
      try dir.sh("vma-pack -f -o a.vma d.img && vma-cat a.vma | cmp - d.img").succeeds()
    }
    try dir.write(Image.full(4100, seed: 1), to: "d.img")
    try dir.run(.pack, "-o", "b.vma", "d.img").fails(65, .pack)
    #expect(!dir.exists("b.vma"))
  }

  @Test func `a VM state with zero blocks`() throws {
    let state = Image.zeros(65536) + Image.full(65536, seed: 1) + Image.zeros(131_072)
    try dir.write(Archive([Archive.Disk("vmstate", state)]).bytes(), to: "a.vma")
    try dir.run(.unpack, "-C", "out", "a.vma").succeeds()
    try dir.expect("out/vmstate.bin", holds: state)
    expectSame(try dir.run(.cat, "a.vma", "vmstate").succeeds().output, state)
  }

  @Test func `any damage results in one line`() throws {
    for place in stride(from: 0, to: 12800, by: 397) {
      var bytes = Sample.smallBytes
      bytes[place] ^= 0x10
      try dir.run(.unpack, "-C", "out", input: .pipe(bytes)).fails(65, .unpack, "byte \(place)")
    }
    for offset in Sample.small.extentOffsets().dropLast() {
      for place in stride(from: 0, to: 512, by: 61) {
        var bytes = Sample.smallBytes
        bytes[offset + place] ^= 0x10
        try dir.run(.unpack, "-C", "out", input: .pipe(bytes)).fails(65, .unpack)
      }
    }
    if dir.exists("out") { try dir.expectNames([], in: "out") }
  }
}
