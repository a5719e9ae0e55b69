// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite("Targets on thin storage, and targets that cannot be written")
struct TargetTests {
  let dir: Scratch
  /// Calls for zeros that a device may not support.
  static let lacks = ["", "fallocate", "fallocate,zero_range", "zero_range"]

  init() throws { dir = try Scratch() }

  private func fault(_ lacks: String) -> String {
    lacks.split(separator: ",").map { "\($0):*:EOPNOTSUPP" }.joined(separator: ",")
  }

  /// Packs a disk of 1 GiB with 1 MiB of data in it.
  private func packSparse() throws {
    try dir.resize("sparse", to: 1 << 30)
    try dir.put(Image.full(1 << 20, seed: 501), into: "sparse", at: 300 << 20)
    try dir.sh("vma-pack -o sparse.vma d=sparse").succeeds()
  }

  @Test(requires("qemu-storage-daemon"))
  func `an image that QEMU has opened is in use`() throws {
    try dir.write(Image.full(1 << 20, seed: 502), to: "disk")
    try dir.sh("cp disk image; vma-pack -o a.vma d=disk").succeeds()
    let outcome = try dir.sh(
      """
      qemu-storage-daemon --blockdev driver=file,node-name=n,filename=image \
        --nbd-server addr.type=unix,addr.path=nbd --export type=nbd,id=e,node-name=n,writable=on \
        > /dev/null & daemon=$!
      until [ -S nbd ]; do sleep 0.05; done; sleep 0.2
      head -c 1M /dev/zero > zeros; dd if=zeros of=image conv=notrunc status=none
      vma-unpack --only d=image a.vma; echo $?; cmp image zeros
      vma-unpack -f --no-configs -m d=image a.vma; echo $?; cmp image disk
      kill $daemon; wait $daemon; vma-unpack --only d=image a.vma
      """)
    #expect(outcome.text == "73\n0\n")
    #expect(outcome.errors.contains("image: is in use by QEMU"))
  }

  // MARK: Thin

  @Test("B5: zeros take no space on a fresh device", requires(.loopDevices), arguments: lacks)
  func thin(lacks: String) throws {
    try packSparse()
    try dir.resize("image", to: 1 << 30)
    let device = try LoopDevice("image", in: dir)
    try dir.run(
      .unpack, ["--no-configs", "-m", "d=\(device.path)", "sparse.vma"], fault: fault(lacks)
    ).succeeds()
    try dir.sh("cmp sparse \(device.path) && sync").succeeds()
    #expect(try dir.allocated("image") < 2 << 20)
  }

  @Test("B5: zeros free space if the device can unmap", requires(.loopDevices))
  func givesBack() throws {
    try packSparse()
    try dir.sh("head -c 64M /dev/urandom > image; truncate -s 1G image").succeeds()
    let device = try LoopDevice("image", in: dir)
    let calls = try dir.countCalls(
      .unpack, ["--no-configs", "-m", "d=\(device.path)", "sparse.vma"])
    // In steps, so that signals are handled in between.
    #expect((8...20).contains(calls["fallocate"] ?? 0))
    try dir.sh("cmp sparse \(device.path) && sync").succeeds()
    #expect(try dir.allocated("image") < 2 << 20)
  }

  @Test("B5: zeros replace any previous content", requires(.loopDevices), arguments: lacks)
  func overwrites(lacks: String) throws {
    for (number, size) in [3_000_832, 1 << 20, 540_672 - 512].enumerated() {
      let image = Image.mixed(size, seed: UInt64(510 + number))
      let archive = Archive([Archive.Disk("d", image)], order: .shuffled(seed: 3))
      try dir.write(archive.bytes(), to: "a.vma")
      // Data, zeros and holes, so that checks find all of them.
      let old =
        Image.full(1 << 20, seed: 9) + Image.zeros(1 << 20) + Image.mixed(2 << 20, seed: 10)
      try dir.write(old, to: "file")
      try dir.run(.unpack, ["--no-configs", "-m", "d=file", "a.vma"], fault: fault(lacks))
        .succeeds()
      try dir.expect("file", holds: image + old.dropFirst(image.count))
      for sector in [512, 4096] {
        try dir.write(old, to: "image")
        let device = try LoopDevice("--sector-size \(sector) image", in: dir)
        try dir.run(
          .unpack, ["--no-configs", "-m", "d=\(device.path)", "a.vma"], fault: fault(lacks)
        ).succeeds()
        expectSame(
          try dir.sh("cat \(device.path)").output, image + old.dropFirst(image.count),
          "sectors of \(sector), disk of \(size)")
      }
    }
  }

  @Test("B5: --target-is-zero writes no zeros", requires(.loopDevices))
  func targetIsZero() throws {
    try packSparse()
    try dir.resize("image", to: 1 << 30)
    let device = try LoopDevice("image", in: dir)
    let arguments = ["--no-configs", "--target-is-zero", "-m", "d=\(device.path)", "sparse.vma"]
    let calls = try dir.countCalls(.unpack, arguments)
    #expect(calls["fallocate"] == nil && calls["pread"] ?? 0 < 100)
    try dir.sh("cmp sparse \(device.path) && sync").succeeds()
    #expect(try dir.allocated("image") < 2 << 20)
    try dir.run(.unpack, "--target-is-zero", "sparse.vma").fails(64, .unpack, saying: "--map")
  }

  // MARK: No writes

  @Test("B7: a read-only device is refused by every tool", requires(.loopDevices))
  func readOnly() throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.resize("image", to: 4 << 20)
    let device = try LoopDevice("--read-only image", in: dir)
    let commands: [(Tool, String)] = [
      (.unpack, "vma-unpack -C o -m scsi0=\(device.path) a.vma"),
      (.unpack, "vma-unpack -f -C o -m scsi0=\(device.path) - < a.vma"),
      (.pack, "vma-pack -o \(device.path) c=a.vma"), (.pack, "vma-pack c=a.vma > \(device.path)"),
      (.toTar, "vma-to-tar -o \(device.path) a.vma"),
      (.toTar, "vma-to-tar a.vma 1<> \(device.path)"),
      (.cat, "vma-cat a.vma scsi0 > \(device.path)"),
    ]
    for (tool, command) in commands {
      let outcome = try dir.sh(command)
      // The kernel may refuse to open it: then the shell does.
      if outcome.errors.hasPrefix("bash: ") { continue }
      outcome.fails(73, tool, saying: "read-only")
      #expect(!outcome.errors.contains("partly written"), "\(command)")
      #expect(!dir.exists("o"))
    }
  }

  @Test("B7: a device that is too small is refused before the first byte", requires(.loopDevices))
  func tooSmall() throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    let old = Image.full(512 << 10, seed: 520)
    try dir.write(old, to: "image")
    let device = try LoopDevice("image", in: dir)
    for command in [
      "vma-cat a.vma scsi0 > \(device.path)", "vma-cat - scsi0 < a.vma > \(device.path)",
      "cat a.vma | vma-cat --offset 4K - scsi0 > \(device.path)",
      "{ head -c 400K > /dev/null; vma-cat --length 200K a.vma scsi0; } 1<> \(device.path) 0<&1",
    ] {
      try dir.sh(command).fails(73, .cat, saying: "too small")
    }
    try dir.sh("vma-to-tar --no-sparse -o \(device.path) a.vma").fails(
      73, .toTar, saying: "too small")
    expectSame(try dir.sh("cat \(device.path)").output, old)
  }

  @Test("B7: a limit on the size of files is checked before the first byte")
  func limit() throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    let old = Image.full(2 << 20, seed: 521)
    try dir.write(old, to: "target")
    for command in [
      "vma-unpack --no-configs -d scsi0 -m scsi0=target a.vma", "vma-unpack -C new a.vma",
    ] {
      try dir.sh("trap '' XFSZ; ulimit -f 600; \(command)").fails(73, .unpack)
    }
    try dir.sh("trap '' XFSZ; ulimit -f 600; vma-cat a.vma scsi0 1<> target").fails(73, .cat)
    try dir.expect("target", holds: old)
  }

  @Test("B7: standard output that accepts only complete blocks", requires("python3"))
  func direct() throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.write(
      """
      import os, subprocess, sys
      out = os.open("t", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
      sys.exit(subprocess.run(sys.argv[1:], stdout=out).returncode)
      """, to: "direct.py")
    for (tool, command) in [
      (Tool.cat, "vma-cat a.vma scsi0"), (.toTar, "vma-to-tar a.vma"), (.pack, "vma-pack c=a.vma"),
    ] {
      try dir.sh("python3 direct.py \(command)").fails(73, tool, saying: "O_DIRECT")
    }
  }

  @Test("B7: the message reports a partly written target only after the first write")
  func halfWritten() throws {
    let image = Image.full(8 << 20, seed: 522)
    try dir.write(Archive([Archive.Disk("d", image)]).bytes(), to: "a.vma")
    let old = Image.full(8 << 20, seed: 523)
    for (call, isHalf) in [(1, false), (2, true)] {
      try dir.write(old, to: "target")
      let outcome = try dir.run(
        .unpack, ["-m", "d=target", "a.vma"], fault: "pwrite:\(call)+:ENOSPC")
      outcome.fails(74, .unpack, saying: "target")
      #expect(outcome.errors.contains("partly written") == isHalf)
      if !isHalf { try dir.expect("target", holds: old) }
    }
    try dir.write(old, to: "target")
    let cut = Archive([Archive.Disk("d", image)]).headerBytes()
    let outcome = try dir.run(.unpack, "-m", "d=target", input: .pipe(cut))
    outcome.fails(65, .unpack, saying: "incomplete: d")
    #expect(!outcome.errors.contains("partly written"))
    try dir.expect("target", holds: old)
  }
}
