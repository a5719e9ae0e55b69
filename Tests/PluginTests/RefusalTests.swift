// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite("nbdkit vma refuses what it cannot serve", requires("nbdkit", "nbdcopy", "qemu-io"))
struct RefusalTests {
  let dir: Scratch
  let disk = Image.full(9 << 20, seed: 810)

  init() throws {
    dir = try Scratch()
    try dir.installPlugin()
    try dir.write(disk, to: "disk.raw")
    try dir.run(.pack, "-o", "vm.vma", "drive-scsi0=disk.raw").succeeds()
  }

  /// Starts nbdkit, which must exit at once, with one line that mentions the words.
  private func expectRefusal(
    _ arguments: String, saying words: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try dir.shWithPlugin("nbdkit -U - vma \(arguments) --run 'echo served'")
    #expect(
      outcome.ending == .exit(1) && outcome.output == [], "\(outcome)",
      sourceLocation: sourceLocation)
    #expect(
      outcome.errorLines.count == 2 && outcome.errors.hasPrefix("nbdkit: error: "), "\(outcome)",
      sourceLocation: sourceLocation)
    for word in words {
      #expect(outcome.errors.contains(word), "\(word): \(outcome)", sourceLocation: sourceLocation)
    }
  }

  @Test func `parameters that are missing, wrong or unknown`() throws {
    try expectRefusal("", saying: "no archive given")
    try expectRefusal("vm.vma vm.vma", saying: "only one archive")
    try expectRefusal("vm.vma drive=scsi1", saying: "no such drive: scsi1", "drive-scsi0")
    try expectRefusal("vm.vma incomplete=maybe", saying: "incomplete=maybe")
    for value in ["", "x", "-1", "2T", "99999999999999999999", "1.5M"] {
      try expectRefusal("vm.vma cache=\(value)", saying: "cache=\(value)")
    }
    for value in ["", "x", "-1", "257", "99999999999999999999"] {
      try expectRefusal("vm.vma threads=\(value)", saying: "threads=\(value)")
    }
    try expectRefusal("vm.vma scsi0=x", saying: "unknown parameter: scsi0")
    try expectRefusal("-", saying: "standard input")
  }

  @Test func `files that are not archives`() throws {
    try expectRefusal("missing.vma", saying: "missing.vma: No such file")
    try expectRefusal(".", saying: ".: Is a directory")
    try expectRefusal("disk.raw", saying: "disk.raw: ", "not a VMA archive")
    try dir.write([], to: "empty")
    try expectRefusal("empty", saying: "empty: ")
    try dir.write("cores: 2\n", to: "vm.conf")
    try dir.run(.pack, "-o", "configs.vma", "-c", "vm.conf").succeeds()
    try expectRefusal("configs.vma", saying: "configs.vma: the archive has no drives")
    try dir.sh("gzip -k vm.vma").succeeds()
    try expectRefusal("vm.vma.gz", saying: "vm.vma.gz: ")
    try expectRefusal("nbd+unix:///?socket=missing", saying: "nbd+unix:///?socket=missing: ")
  }

  @Test func `truncated and incomplete archives`() throws {
    let size = try dir.read("vm.vma").count
    for count in [100, 12288, 12289, 13000, 4_000_000, size - 513] {
      try dir.sh("head -c \(count) vm.vma >t.vma").succeeds()
      try expectRefusal("t.vma", saying: "t.vma: ")
    }
    try dir.sh("zstd -q vm.vma -o whole.zst; head -c -100 whole.zst >t.vma.zst").succeeds()
    let outcome = try dir.shWithPlugin("nbdkit -U - vma t.vma.zst --run 'echo served'")
    #expect(outcome.ending == .exit(1) && outcome.output == [])
    #expect(outcome.errors.contains("nbdkit: error: t.vma.zst: "), "\(outcome.errors)")
  }

  @Test func `a damaged header, or a damaged extent header`() throws {
    let whole = try dir.read("vm.vma")
    for place in [0, 5, 50, 3000] {
      var bytes = whole
      bytes[place] ^= 1
      try dir.write(bytes, to: "d.vma")
      try expectRefusal("d.vma", saying: "d.vma: header at byte")
    }
    let extent = try #require(
      whole.indices.dropFirst(12288).first { place in
        whole[place..<place + 4].elementsEqual(Array("VMAE".utf8))
      })
    for place in [0, 9, 40, 100, 511] {
      var bytes = whole
      bytes[extent + place] ^= 0x10
      try dir.write(bytes, to: "d.vma")
      try expectRefusal("d.vma", saying: "d.vma: extent 0 at byte \(extent)")
    }
  }

  @Test func `random changes of the archive never end nbdkit by a trap`() throws {
    var random = Seeded(811)
    try dir.write(Sample.smallBytes, to: "small.vma")
    for _ in 0..<40 {
      var bytes = Sample.smallBytes
      for _ in 0..<1 + random.next() % 4 {
        let place = Int(random.next() % 14000)
        bytes[place] = UInt8(truncatingIfNeeded: random.next())
      }
      try dir.write(bytes, to: "r.vma")
      let outcome = try dir.shWithPlugin(
        "nbdkit -U - vma r.vma incomplete=true --run 'nbdcopy --requests=1 \"$uri\" null:'")
      guard case .exit(let code) = outcome.ending, code == 0 || code == 1 else {
        Issue.record("\(outcome)")
        continue
      }
    }
  }

  /// Of a compressed archive whose seek table is missing, too, the complete frames are used.
  @Test(arguments: ["", "-z"])
  func `lost data of an incomplete archive is an error, and the rest can be read`(
    option: String
  ) throws {
    try dir.sh("vma-pack \(option) -o t.vma drive-scsi0=disk.raw && truncate -s 6M t.vma")
      .succeeds()
    let extent = 59 * clusterSize
    let outcome = try dir.shWithPlugin(
      """
      nbdkit -U - vma t.vma incomplete=true --run '
        nbdcopy --requests=1 -- "$uri" null: && echo wrong
        qemu-io -r -f raw -c "read \(extent - 4096) 4096" "$uri" || echo wrong
        qemu-io -r -f raw -c "read \(extent - 4096) 8192" "$uri" && echo wrong
        qemu-img dd -f raw bs=64K count=59 if="$uri" of=start.raw -O raw || echo wrong'
      """)
    #expect(!outcome.text.contains("wrong"), "\(outcome.text) \(outcome.errors)")
    #expect(outcome.errors.hasPrefix("nbdkit: warning: t.vma: extent 1 at byte "))
    #expect(outcome.errors.contains("t.vma: drive-scsi0: the archive is incomplete"))
    try dir.expect("start.raw", holds: Array(disk[..<extent]))
  }

  /// A disk of 9 MiB in three extents. An extent that no other one follows counts as lost, because
  /// bytes may be missing from it.
  @Test(
    "a damaged archive: each cluster is right or an error",
    requires(.pythonNBD, "zstd", "split"),
    arguments: [
      // The header of the first, the second and the third extent, and data of the second.
      ("printf x | dd of=d.vma bs=1 seek=$((e0 + 100)) conv=notrunc", 59),
      ("printf x | dd of=d.vma bs=1 seek=$((e1 + 100)) conv=notrunc", 59),
      ("printf x | dd of=d.vma bs=1 seek=$((e2 + 100)) conv=notrunc", 26),
      ("head -c 1024 disk.raw | dd of=d.vma bs=1 seek=$e1 conv=notrunc", 118),
      ("head -c 6000000 vm.vma >d.vma; tail -c +6001001 vm.vma >>d.vma", 59),
      ("head -c 6000000 vm.vma >d.vma; echo inserted >>d.vma; tail -c +6000001 vm.vma >>d.vma", 59),
      ("head -c $e1 vm.vma >d.vma; tail -c +$((e2 + 1)) vm.vma >>d.vma", 59),
      ("head -c $e2 vm.vma >d.vma; tail -c +$((e1 + 1)) vm.vma >>d.vma", 0),
      ("head -c $((e1 + 100)) vm.vma >d.vma", 85),
      (
        """
        split -b 300000 vm.vma part.; for p in part.*; do zstd -q $p; done
        printf x | dd of=part.ao.zst bs=1 seek=1000 conv=notrunc; cat part.*.zst >d.vma
        """, 6
      ),
    ])
  func remains(damage: String, lostCount: Int) throws {
    try dir.write(
      """
      import nbd, os
      h = nbd.NBD()
      h.connect_uri(os.environ["uri"])
      disk = open("disk.raw", "rb").read()
      lost = 0
      for offset in range(0, len(disk), 65536):
          try:
              if h.pread(65536, offset) != disk[offset:offset + 65536]:
                  print("wrong at", offset)
          except nbd.Error:
              lost += 1
      print("lost", lost)

      """, to: "compare.py")
    let outcome = try dir.shWithPlugin(
      """
      cp vm.vma d.vma
      set -- $(LC_ALL=C grep -abo VMAE vm.vma | cut -d: -f1)
      e0=$1 e1=$2 e2=$3
      { \(damage); } 2>dd.log
      nbdkit -U - vma d.vma --run true && echo served
      export -n uri
      nbdkit -U - vma d.vma incomplete=true --run '
        uri=$uri /usr/bin/python3 compare.py'
      """)
    // Damage of data that is compressed is found when it is read.
    let lines = outcome.lines.filter { $0 != "served" || !damage.contains("zstd") }
    #expect(lines == ["lost \(lostCount)"], "\(outcome.text) \(outcome.errors)")
  }

  /// Zeros that the archive does not state must not be zeros in the map.
  @Test func `lost data is not a hole`() throws {
    try dir.sh("head -c 6M vm.vma >t.vma").succeeds()
    let map = try dir.shWithPlugin(
      "nbdkit -U - vma t.vma incomplete=1 --run 'nbdinfo --map --totals \"$uri\"' 2>/dev/null")
    #expect(map.lines.count == 1 && map.text.contains("data"), "\(map.text)")
  }

  @Test(
    "an archive that changes while it is served gives errors, and no wrong data",
    arguments: [
      "truncate -s 5M vm.vma", "touch vm.vma", "echo x >>vm.vma",
      "printf x | dd of=vm.vma conv=notrunc status=none",
    ])
  func changes(change: String) throws {
    let outcome = try dir.shWithPlugin(
      """
      nbdkit -U - vma vm.vma --run '
        qemu-io -r -f raw -c "read 1M 64K" "$uri" >/dev/null || echo wrong
        sleep 0.1; \(change)
        qemu-io -r -f raw -c "read 8M 64K" "$uri" >/dev/null && echo wrong
        qemu-io -r -f raw -c "read 0 64K" "$uri" >/dev/null && echo wrong'; true
      """)
    #expect(!outcome.text.contains("wrong"), "\(outcome.text) \(outcome.errors)")
    #expect(outcome.errors.contains("vm.vma: ") && outcome.errors.contains("while it was"))
  }

  @Test func `a renamed, replaced or deleted archive is served as it was`() throws {
    try dir.shWithPlugin(
      """
      nbdkit -U - vma vm.vma --run '
        mv vm.vma other.vma; echo x >vm.vma; nbdcopy "$uri" copy.raw && cmp copy.raw disk.raw &&
        chmod 600 other.vma; rm other.vma; nbdcopy "$uri" copy.raw && cmp copy.raw disk.raw'
      """
    ).succeeds()
  }
}
