// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// What a second backup of a disk adds to a repository of restic: archives against the disk itself.
@Suite("A deduplicating store recognizes unchanged data", requires("restic", "python3"))
struct DeduplicationTests {
  /// An empty repository, which decides where restic divides data: a new one would do that
  /// elsewhere each time. Its password is "x".
  private static let key = #"""
    {"created":"2026-01-01T00:00:00Z","username":"test","hostname":"test","kdf":"scrypt"\#
    ,"N":16384,"r":8,"p":2,"salt":"B1BcNwodTMXqIvohoJK7o6KG87GWeG42On3I5SDpa7qli7hXJUqBF\#
    +JomgUHyjsuqJmzyHjCLQcmLTXhQIjxOw==","data":"A/29xSNmO36RXnuWAHv83rinGreegQaPLS5Kz4q\#
    K4Y9YtmdI9XTAMgi6zQk7UR8jD8nE5EcrBNu5sQZTtJUsQgmthiAdxF3rdaHk5AQt5sWAG5MkzebBS1WijMj\#
    HsVBzqphtsS39bgceHBCF1WRRgDbSK1QMKe+fASfFE0ic15H+MVx0Ryfqcm0a5cV1bv4xeLE3QLFR/bhZcZA\#
    spF3Rhw=="}
    """#
  private static let keyName = "b3ed05fbb571258a6ae11feee167f5968d5ffd50b08c9ca30814867a491b28bd"
  private static let config = """
    iUQUYCMkI+Gj6BX4Hqi/xeMVSP5GAye9NN/m6bfzOUTEawazQNJ4jSsblzVgkUFssA/z4pttsNi/re5wAnAh\
    pzUnu9K7bibcMwarkJlANrkx9Umwm8dCVcMeBB2ayGW/aYVg1vDviKVT00KyBypKrtCMrhVPWFxM1P7SEW5Y\
    iKc7qdQT3yiJEXTD7hoQ4qaafzBqJL2QFR5uEks=
    """

  /// A disk of 256 MiB with data in two thirds of it, at two points in time: ranges of files and
  /// single blocks have changed. And the event stream of a live backup: 0.1 % of the clusters come
  /// early, others each time.
  private static let producer = #"""
    import random, struct, sys

    size, cluster = 256 << 20, 65536

    def disks():
        rng = random.Random(1)
        disk, areas, place = bytearray(size), [], 0
        while place < size:
            length = min(rng.choice([16, 64, 256, 1024, 4096]) * 4096, size - place)
            if rng.random() < 0.63:
                disk[place:place + length] = rng.randbytes(length)
                areas.append((place, length))
            place += length
        open("1.raw", "wb").write(disk)
        for number in range(22):
            start, length = rng.choice(areas)
            blocks = min(length // 4096, rng.randrange(20, 120) if number < 16 else 1)
            place = start + rng.randrange(length // 4096 - blocks + 1) * 4096
            disk[place:place + blocks * 4096] = rng.randbytes(blocks * 4096)
        open("2.raw", "wb").write(disk)

    def live(name, seed):
        rng, disk = random.Random(seed), open(name, "rb").read()
        count, number = size // cluster, 0
        early = {}
        for late in rng.sample(range(count), count // 1000):
            early.setdefault(rng.randrange(late + 1), []).append(late)

        def tell(kind, device=0, offset=0, length=0, payload=b"", flags=0):
            nonlocal number
            sys.stdout.buffer.write(
                b"CBE1" + kind + bytes([device])
                + struct.pack(">HQQII", flags, offset, length, len(payload), number) + payload)
            number += 1

        def data(index, flags):
            payload = disk[index * cluster:(index + 1) * cluster]
            tell(b"O", 1, index * cluster, cluster, payload, flags)

        known = set()
        tell(b"D", 1, 0, size, b"d")
        tell(b"B")
        for index in range(count):
            for late in early.get(index, []):
                data(late, 1)
                known.add(late)
            if index not in known:
                data(index, 0)
        tell(b"F", 1)
        tell(b"E", 0, number)

    disks() if len(sys.argv) == 1 else live(sys.argv[1], int(sys.argv[2]))
    """#

  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Self.producer, to: "produce.py")
    try dir.sh("python3 produce.py && mkdir -p empty/{data,index,keys,locks,snapshots}").succeeds()
    try dir.write(Self.key, to: "empty/keys/\(Self.keyName)")
    try dir.write(try #require(Data(base64Encoded: Self.config)), to: "empty/config")
  }

  /// The bytes that a second backup adds.
  private func added(_ command: String) throws -> Double {
    let outcome = try dir.sh(
      """
      export RESTIC_PASSWORD=x
      rm -rf repository && cp -r empty repository
      for number in 1 2; do
        \(command) |
          restic -q -r repository --no-cache backup --stdin --stdin-filename disk >&2 || exit 1
        du -sb repository | cut -f1
      done
      """
    ).succeeds()
    let sizes = outcome.lines.compactMap { Double($0) }
    try #require(sizes.count == 2)
    return sizes[1] - sizes[0]
  }

  @Test func `aligned groups and a stable UUID cost little more than the disk`() throws {
    let raw = try added("cat $number.raw")
    let order = try added("vma-pack --uuid-from vm --ctime 0 d=$number.raw")
    let live = try added(
      """
      python3 produce.py $number.raw $number | vma-pack --events --uuid-from vm --ctime 0
      """)
    #expect(order / raw <= 1.2, "in disk order: \(order / raw)")
    #expect(live / raw <= 1.8, "live: \(live / raw)")
    // The data has changed, and restic has noticed.
    #expect(raw > 3e6 && raw < 100e6, "\(raw)")
  }
}
