// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite(
  "nbdkit vma serves the disks of an archive",
  requires("nbdkit", "nbdcopy", "nbdinfo", "qemu-img", "qemu-io"))
struct ServingTests {
  let dir: Scratch
  let disk = Image.mixed(5_000_192, seed: 800)
  let small = Image.mixed(540_672, seed: 801)

  init() throws {
    dir = try Scratch()
    try dir.installPlugin()
    try dir.write(disk, to: "disk.raw")
    try dir.write(small, to: "small.raw")
    try dir.write("cores: 2\n", to: "qemu-server.conf")
    try dir.run(.pack, "-o", "one.vma", "drive-scsi0=disk.raw").succeeds()
    try dir.run(
      .pack, "-o", "vm.vma", "-c", "qemu-server.conf", "drive-scsi0=disk.raw",
      "drive-efidisk0=small.raw"
    ).succeeds()
  }

  /// How an archive is stored.
  static let forms = [
    "cp one.vma stored", "zstd -q -B64K --no-content-size one.vma -o /dev/null; cp one.vma stored",
    "split -b 300000 one.vma part. && for p in part.*; do zstd -q $p; done; cat part.*.zst >stored",
    "lzop -o stored one.vma",
  ]

  @Test(requires("zstd", "lzop", "split"), arguments: forms)
  func `a whole disk is the same as the original`(store: String) throws {
    try dir.sh(store).succeeds()
    try dir.shWithPlugin(
      """
      nbdkit -U - vma stored --run '
        nbdcopy "$uri" copy.raw && cmp copy.raw disk.raw &&
        qemu-img compare -q -f raw -F raw "$uri" disk.raw'
      """
    ).succeeds()
  }

  @Test func `reads at any offset and of any length, by several clients at once`() throws {
    var random = Seeded(802)
    var commands = ""
    for _ in 0..<150 {
      let offset = Int(random.next() % UInt64(disk.count))
      let length = 1 + Int(random.next() % UInt64(min(disk.count - offset, 200_000)))
      commands += "read \(offset) \(length)\n"
    }
    try dir.write(commands, to: "commands")
    try dir.write(
      """
      import sys, threading
      import nbd
      reads = [tuple(map(int, line.split()[1:])) for line in open("commands")]
      disk = open("disk.raw", "rb").read()
      faults = []
      def run():
          try:
              h = nbd.NBD()
              h.connect_uri(sys.argv[1])
              for offset, length in reads:
                  if h.pread(length, offset) != disk[offset:offset + length]:
                      faults.append((offset, length))
              h.shutdown()
          except Exception as error:
              faults.append(error)
      threads = [threading.Thread(target=run) for _ in range(4)]
      for t in threads: t.start()
      for t in threads: t.join()
      sys.exit(f"{faults[:5]}" if faults else 0)

      """, to: "read.py")
    for archive in ["one.vma", "stored"] {
      if archive == "stored" { try dir.sh(Self.forms[2]).succeeds() }
      try dir.shWithPlugin(
        "nbdkit -U - vma \(archive) --run '/usr/bin/python3 read.py \"$uri\"'"
      ).succeeds(archive)
    }
  }

  @Test func `each drive is an export, with its size and a description`() throws {
    let list = try dir.shWithPlugin(
      "nbdkit -U - vma vm.vma --run 'nbdinfo --list --json \"$uri\"'"
    ).succeeds()
    let json = try #require(
      JSONSerialization.jsonObject(with: Data(list.output)) as? [String: Any])
    let exports = try #require(json["exports"] as? [[String: Any]])
    #expect(
      exports.map { $0["export-name"] as? String } == ["drive-scsi0", "drive-efidisk0"])
    #expect(exports.map { $0["export-size"] as? Int } == [disk.count, small.count])
    #expect(exports[0]["description"] as? String == "disk in vm.vma, 4.77 MiB")
    #expect(exports[0]["is_read_only"] as? Bool == true)
    #expect(exports[0]["can_multi_conn"] as? Bool == true)
  }

  @Test(
    "a name, with or without its prefix, selects the drive",
    arguments: [
      ("", "drive-scsi0", "disk.raw"), ("", "efidisk0", "small.raw"),
      ("drive=efidisk0", "", "small.raw"), ("drive=drive-scsi0", "", "disk.raw"),
      ("drive=efidisk0", "scsi0", "disk.raw"),
    ])
  func names(parameter: String, export: String, file: String) throws {
    try dir.shWithPlugin(
      """
      nbdkit -U - vma vm.vma \(parameter) --run '
        nbdcopy "nbd+unix:///\(export)?socket=$unixsocket" copy && cmp copy \(file)'
      """
    ).succeeds()
  }

  @Test func `the default is the only drive, and not the memory`() throws {
    try dir.write(Image.mixed(200_704, seed: 803), to: "memory")
    try dir.run(.pack, "-o", "m.vma", "drive-scsi0=disk.raw", "vmstate=memory").succeeds()
    try dir.shWithPlugin(
      """
      nbdkit -U - vma m.vma --run '
        nbdcopy "$uri" copy && cmp copy disk.raw &&
        nbdcopy "nbd+unix:///vmstate?socket=$unixsocket" copy && cmp -n 200704 copy memory'
      """
    ).succeeds()
  }

  @Test func `without a default, or with an unknown name, the message lists the drives`() throws {
    for (export, word) in [("", "several drives"), ("scsi1", "no such drive: scsi1")] {
      let outcome = try dir.shWithPlugin(
        "nbdkit -U - vma vm.vma --run 'nbdinfo \"nbd+unix:///\(export)?socket=$unixsocket\"'")
      #expect(outcome.ending == .exit(1))
      #expect(outcome.errors.contains("vm.vma: \(word)"), "\(outcome.errors)")
      #expect(outcome.errors.contains("drive-scsi0, drive-efidisk0"))
    }
  }

  @Test func `the map of the disk shows the zeros of the archive`() throws {
    let map = try dir.shWithPlugin(
      "nbdkit -U - vma one.vma --run 'nbdinfo --map --json \"$uri\"'"
    ).succeeds()
    let extents = try #require(
      JSONSerialization.jsonObject(with: Data(map.output)) as? [[String: Any]])
    var position = 0
    var zeroCount = 0
    for extent in extents {
      let offset = try #require(extent["offset"] as? Int)
      let length = try #require(extent["length"] as? Int)
      #expect(offset == position)
      let type = extent["type"] as? Int
      #expect(type == 0 || type == 3)
      for start in stride(from: offset, to: offset + length, by: blockSize) {
        let isZero = disk[start..<min(start + blockSize, disk.count)].allSatisfy { $0 == 0 }
        if isZero != (type == 3) { Issue.record("byte \(start): type \(type ?? -1)") }
        zeroCount += isZero ? 1 : 0
      }
      position += length
    }
    #expect(position == disk.count && zeroCount > 10)
  }

  @Test func `writing is refused`() throws {
    let outcome = try dir.shWithPlugin(
      "nbdkit -U - vma one.vma --run 'qemu-io -f raw -c \"write 0 4096\" \"$uri\"' 2>&1")
    #expect(outcome.ending != .exit(0))
  }

  @Test func `in the background, from another directory, with a copy-on-write filter`() throws {
    try dir.shWithPlugin(
      """
      set -e
      nbdkit -P pid -U "$PWD/s" --filter=cow vma one.vma
      uri="nbd+unix:///?socket=$PWD/s"
      nbdcopy "$uri" copy.raw
      cmp copy.raw disk.raw
      qemu-io -f raw -c 'write -q -P 7 8192 4096' -c 'read -q -P 7 8192 4096' "$uri"
      nbdcopy "$uri" copy.raw
      cmp -n 8192 copy.raw disk.raw
      ! cmp -s copy.raw disk.raw
      kill "$(cat pid)"
      while [ -e "/proc/$(cat pid)" ]; do sleep 0.1; done
      vma-unpack -t one.vma
      """
    ).succeeds()
  }

  @Test func `an archive behind another NBD server`() throws {
    try dir.sh("split -b 300000 one.vma part. && for p in part.*; do zstd -q $p; done").succeeds()
    try dir.sh("cat part.*.zst >one.vma.zst").succeeds()
    for archive in ["one.vma", "one.vma.zst"] {
      try dir.shWithPlugin(
        """
        nbdkit -U - file \(archive) --run '
          nbdkit -U - vma "$uri" --run "nbdcopy \\"\\$uri\\" copy.raw"' && cmp copy.raw disk.raw
        """
      ).succeeds()
    }
  }

  @Test(requires("zstd"))
  func `an archive with an index file, and one without`() throws {
    try dir.sh("zstd -q --threads=1 <one.vma >one.vma.zst").succeeds()
    let serve = """
      --run 'nbdcopy "$uri" copy.raw && cmp copy.raw disk.raw &&
        qemu-io -r -f raw -c "read 4M 64K" "$uri" >/dev/null'
      """
    let outcome = try dir.shWithPlugin("nbdkit -U - vma one.vma.zst \(serve)")
    #expect(outcome.ending == .exit(0), "\(outcome)")
    #expect(
      outcome.errors
        == "nbdkit: warning: one.vma.zst: is read once to create an index "
        + "(to keep it, use vma-unpack -t --index)\n")
    // The background process needs no thread of the one that created the index.
    try dir.shWithPlugin(
      """
      nbdkit -P pid -U "$PWD/s" vma one.vma.zst 2>/dev/null
      nbdcopy "nbd+unix:///?socket=$PWD/s" copy.raw && cmp copy.raw disk.raw; kill "$(cat pid)"
      """
    ).succeeds()
    try dir.run(.unpack, "-t", "--index", "one.vma.zst").succeeds()
    try dir.shWithPlugin("nbdkit -U - vma one.vma.zst \(serve)").succeeds()
    try dir.sh("mv one.vma.zst.idx elsewhere").succeeds()
    try dir.shWithPlugin("nbdkit -U - vma one.vma.zst index=elsewhere \(serve)").succeeds()
    // The index of another archive.
    try dir.sh("zstd -q --threads=1 <vm.vma >vm.vma.zst").succeeds()
    let wrong = try dir.shWithPlugin("nbdkit -U - vma vm.vma.zst index=elsewhere --run true")
    #expect(wrong.ending == .exit(1) && wrong.errors.hasPrefix("nbdkit: error: elsewhere: "))
  }

  @Test func `the plugin describes itself`() throws {
    let dump = try dir.shWithPlugin("nbdkit vma --dump-plugin").succeeds().lines
    let version = try dir.run(.cat, "--version").text.dropFirst("vma-cat ".count).dropLast()
    #expect(dump.contains("name=vma") && dump.contains("version=\(version)"))
    #expect(dump.contains("thread_model=parallel"))
    let help = try dir.shWithPlugin("nbdkit vma --help").succeeds().text
    for parameter in ["archive=", "drive=", "index=", "cache=", "threads=", "incomplete="] {
      #expect(help.contains(parameter))
    }
  }
}
