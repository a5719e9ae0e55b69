// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("-t accepts an archive only if every cluster is present exactly once")
struct UnpackCheckTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// From a file, a redirection and a pipe, thorough and quick.
  private func check(
    _ archive: Archive, isSound: Bool, _ comment: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let bytes = archive.bytes()
    try dir.write(bytes, to: "a.vma")
    let inputs: [([String], Input)] = [
      (["a.vma"], .nothing), ([], .file(dir("a.vma"))), (["-"], .pipe(bytes)),
    ]
    for (operand, input) in inputs {
      for options in [["-t"], ["--test", "--quick"]] {
        let outcome = try dir.run(.unpack, options + operand, input: input)
        if isSound {
          outcome.succeeds(comment, sourceLocation: sourceLocation)
          #expect(outcome.output.isEmpty, "-t writes nothing")
        } else {
          outcome.fails(65, .unpack, comment, sourceLocation: sourceLocation)
        }
      }
    }
    try dir.expectNames(["a.vma"])
  }

  @Test func `intact archives of every shape`() throws {
    try check(Sample.whole, isSound: true)
    try check(Sample.small, isSound: true)
    let disks = [Archive.Disk("a", Sample.efi), Archive.Disk("b", Sample.scsi)]
    for ids in [[1, 2], [200, 3], [254, 253]] {
      try check(Archive(disks, ids: ids, order: .shuffled(seed: 3)), isSound: true)
    }
    for count in [1, 58, 59] {
      try check(Archive(disks, order: .reversed, perExtent: count), isSound: true)
    }
  }

  @Test func `no device, with one empty extent or none, with configs or not`() throws {
    for configs in [[], [Sample.config]] {
      var archive = Archive([], configs: configs)
      try check(archive, isSound: true)
      archive.extents = []
      try check(archive, isSound: true)
      archive.extents = [Archive.Extent(), Archive.Extent()]
      try check(archive, isSound: true)
    }
  }

  @Test func `empty extents anywhere`() throws {
    var archive = Sample.small
    for index in archive.extents.indices.reversed() {
      archive.extents.insert(Archive.Extent([nil, nil]), at: index)
    }
    archive.extents.append(Archive.Extent())
    try check(archive, isSound: true)
  }

  @Test func `deviations that a reader must accept`() throws {
    var archive = Sample.small
    archive.edits = [
      Edit(offset: 60, bytes: Image.full(1984, seed: 1)), Edit(offset: 4092, bytes: [1, 2, 3, 4]),
      .big(4096 + 32 + 4, UInt32(0xdead_beef)),
      Edit(offset: 4096 + 32 + 16, bytes: Image.full(16, seed: 2)),
      Edit(offset: 12288, bytes: [0xff]),
      // Half a config and half a device do not count.
      .big(2044 + 4 * 9, UInt32(1)), .big(3068 + 4 * 10, UInt32(1)),
      .big(4096 + 32 * 9, UInt32(1)), .big(4096 + 32 * 10 + 8, UInt64(512)),
    ]
    archive.extents[0].edits = [
      Edit(offset: 4, bytes: [7, 7]), Edit(offset: 42, bytes: [9]),
    ]
    try check(archive, isSound: true)
    archive.slack = 4096
    try check(archive, isSound: true)
  }

  @Test func `data past the end of a disk in its last block`() throws {
    var archive = Archive([Archive.Disk("d", Image.full(4608, seed: 1))])
    archive.extents[0].slots[0]?.blocks.replaceSubrange(4608..., with: Image.full(3584, seed: 2))
    try check(archive, isSound: true)
    try dir.run(.unpack, "-C", "out", "a.vma").succeeds()
    try dir.expect("out/disk-d.raw", holds: Image.full(4608, seed: 1))
  }

  @Test func `a VM state that is longer than estimated`() throws {
    var archive = Archive([Archive.Disk("vmstate", Sample.state)])
    for size in [512, clusterSize, Sample.state.count] {
      archive.devices[0].size = UInt64(size)
      try check(archive, isSound: true)
      try dir.run(.unpack, "-f", "-C", "out", "a.vma").succeeds()
      try dir.expect("out/vmstate.bin", holds: Sample.state)
      try FileManager.default.removeItem(atPath: dir("out"))
    }
  }

  @Test func `a VM state that is too short, out of order, duplicated or has a gap`() throws {
    let whole = Archive([Archive.Disk("vmstate", Sample.state)], perExtent: 2)
    var archive = whole
    archive.devices[0].size += 512
    try check(archive, isSound: false, "short")
    archive = Archive([Archive.Disk("vmstate", Sample.state)], order: .reversed, perExtent: 2)
    try check(archive, isSound: false, "disorder")
    archive = whole
    archive.extents.append(archive.extents[1])
    try check(archive, isSound: false, "doubled")
    archive = whole
    archive.extents[0].slots[1] = nil
    try check(archive, isSound: false, "gap")
    archive.devices[0].size = 512
    try check(archive, isSound: false, "gap within what is left")
  }

  @Test(arguments: 0..<4)
  func `a missing cluster of any kind`(index: Int) throws {
    for extent in [index] {
      var archive = Sample.small
      archive.extents.remove(at: extent)
      try check(archive, isSound: false, "extent \(extent) left out")
      archive = Sample.small
      archive.extents[extent].slots = [nil]
      try check(archive, isSound: false, "extent \(extent) emptied")
    }
  }

  @Test func `a missing zero cluster`() throws {
    var image = Image.full(3 * clusterSize, seed: 6)
    image.replaceSubrange(clusterSize..<2 * clusterSize, with: Image.zeros(clusterSize))
    var archive = Archive([Archive.Disk("d", image)])
    archive.extents[0].slots[1] = nil
    try check(archive, isSound: false)
  }

  @Test(arguments: 0..<4)
  func `a duplicate cluster`(index: Int) throws {
    var archive = Sample.small
    archive.extents.append(archive.extents[index])
    try check(archive, isSound: false)
    archive = Sample.small
    archive.extents[index].slots.append(archive.extents[index].slots[0])
    try check(archive, isSound: false)
  }

  @Test func `an archive truncated between any two extents`() throws {
    let offsets = Sample.small.extentOffsets()
    for offset in offsets.dropLast() {
      let cut = Array(Sample.smallBytes.prefix(offset))
      try dir.write(cut, to: "a.vma")
      for options in [["-t"], ["-t", "--quick"]] {
        try dir.run(.unpack, options + ["a.vma"]).fails(65, .unpack, "cut at \(offset)")
        try dir.run(.unpack, options, input: .pipe(cut)).fails(65, .unpack, "cut at \(offset)")
      }
    }
  }

  @Test func `bytes after the last extent, including zeros`() throws {
    for tail in [[0], Image.zeros(511), Image.zeros(512), Image.zeros(1 << 20), [1, 2, 3]] {
      let bytes = Sample.smallBytes + tail
      try dir.write(bytes, to: "a.vma")
      for options in [["-t"], ["-t", "--quick"], ["-C", "out"]] {
        try dir.run(.unpack, options + ["a.vma"]).fails(65, .unpack, "\(tail.count) bytes more")
        try dir.run(.unpack, options, input: .pipe(bytes)).fails(65, .unpack)
      }
    }
    if dir.exists("out") { try dir.expectNames([], in: "out") }
  }

  @Test func `a thorough test reads what a quick one skips`() throws {
    // Block data has no checksum: only its presence can be tested, by both.
    let cut = Array(Sample.smallBytes.dropLast(4096))
    try dir.write(cut, to: "a.vma")
    try dir.run(.unpack, "-t", "--quick", "a.vma").fails(65, .unpack)
    try dir.run(.unpack, "-t", "a.vma").fails(65, .unpack)
  }
}
