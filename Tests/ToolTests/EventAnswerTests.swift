// SPDX-License-Identifier: Apache-2.0

import Testing

@Suite("Announced writes wait for their answers, and for nothing else", requires("python3"))
struct EventAnswerTests {
  let dir: Scratch
  private let image = Image.mixed(10 * clusterSize + 512, seed: 41)

  init() throws {
    dir = try Scratch()
    try dir.write(image, to: "d.raw")
  }

  /// The first piece of the stream determines all messages but the last: the packer checks the
  /// stream before it copies.
  @Test func `answers and completions, number by number`() throws {
    try dir.produce(
      """
      size = os.path.getsize("d.raw")
      packer = Packer("-o", "a.vma", "d=d.raw")
      packer.tell(
          ("D", 7, 0, size, b"d"), ("D", 3, 0, 512, b"told"), ("B", 0, 1_700_000_000),
          ("W", 7, 65536 - 512, 2 * 65536, b"", 1), ("O", 7, 5 * 65536, 512, bytes(512), 1),
          ("Z", 7, size - 512, 512), ("O", 3, 0, 512, b"x" * 512), ("W", 7, 0, size))
      check(packer.messages(5), [(3, 0), (4, 0), (5, 0), (7, 0), (7, COMPLETE)])
      # A write that was sent before the completion arrived, and others after it.
      packer.tell(("W", 7, 512, 512), ("O", 7, 0, 512, b"y" * 512), ("Z", 7, 0, 1024))
      check(packer.messages(3), [(8, 0), (9, 0), (10, 0)])
      check(packer.hears(0.05), False)
      check(packer.end(7, 3), (0, ""))
      check(packer.message(), None)
      """)
    var expected = image
    expected.replaceSubrange(5 * clusterSize..<5 * clusterSize + 512, with: Image.zeros(512))
    expected.replaceSubrange(image.count - 512..<image.count, with: Image.zeros(512))
    let archive = ParsedArchive(try dir.read("a.vma"))
    #expect(archive.faults == [])
    expectSame(try archive.image("d"), expected)
    #expect(try archive.image("told") == [UInt8](repeating: 0x78, count: 512))
    #expect(archive.order.first { $0.device == 7 }?.cluster == 0)
  }

  @Test func `no completion before begin, and then one immediately`() throws {
    try dir.produce(
      """
      size = os.path.getsize("d.raw")
      packer = Packer("-o", "a.vma", "d=d.raw", "e=d.raw")
      packer.tell(("D", 1, 0, size, b"d"), ("D", 2, 0, size, b"e"), ("C", 0, 0, 0, b"c\\0x"))
      check(packer.hears(0.3), False)
      packer.tell(("B",))
      check(sorted(packer.messages(2)), [(1, COMPLETE), (2, COMPLETE)])
      check(packer.end(2, 1), (0, ""))
      check(packer.message(), None)
      """)
    let archive = ParsedArchive(try dir.read("a.vma"))
    expectSame(try archive.image("d"), image)
    expectSame(try archive.image("e"), image)
  }

  @Test func `a finish before the completion: the device cannot be written any more`() throws {
    try dir.produce(
      """
      size = os.path.getsize("d.raw")
      packer = Packer("-o", "a.vma", "d=d.raw")
      packer.tell(("D", 1, 0, size, b"d"), ("B",), ("F", 1), ("E", 0, 3))
      check(packer.leave(), (0, ""))
      check(packer.message(), (1, COMPLETE))
      check(packer.message(), None)
      """)
    expectSame(try ParsedArchive(try dir.read("a.vma")).image("d"), image)
  }

  @Test func `once answered, the disk may change`() throws {
    try dir.produce(
      """
      size = os.path.getsize("d.raw")
      disk = os.open("d.raw", os.O_RDWR)
      before = os.pread(disk, size, 0)
      packer = Packer("-o", "a.vma", "d=d.raw")
      # One sector sent, the rest of its cluster read; a sector of two clusters each; the last.
      old = before[3 * 65536 + 1024:][:512]
      packer.tell(
          ("D", 1, 0, size, b"d"), ("B",), ("O", 1, 3 * 65536 + 1024, 512, old, 1),
          ("W", 1, 5 * 65536 - 512, 1024), ("W", 1, size - 512, 512), ("W", 1, 0, size))
      check(packer.messages(3), [(2, 0), (3, 0), (4, 0)])
      os.pwrite(disk, b"n" * 65536, 3 * 65536)
      os.pwrite(disk, b"n" * 131072, 4 * 65536)
      os.pwrite(disk, b"n" * 512, size - 512)
      check(packer.messages(2), [(5, 0), (1, COMPLETE)])
      os.pwrite(disk, b"n" * size, 0)
      check(packer.end(1), (0, ""))
      check(cat("a.vma", "d") == before, True)
      """)
  }

  @Test func `a disk that shrinks after the write to its tail was answered`() throws {
    try dir.produce(
      """
      size = os.path.getsize("d.raw")
      before = open("d.raw", "rb").read()
      packer = Packer("-o", "a.vma", "d=d.raw")
      packer.tell(("D", 1, 0, size, b"d"), ("B",), ("W", 1, 100_352, size - 100_352))
      check((2, 0) in packer.messages(1) + packer.messages(1), True)
      os.truncate("d.raw", 100_352)
      check(packer.end(1), (0, ""))
      check(cat("a.vma", "d") == before, True)
      """)
  }

  @Test(arguments: [
    #"("W", 2, 0, 512)"#, #"("W", 1, 0, 16 * 2**20 + 512)"#, #"("W", 1, 0, 512, b"x" * 512)"#,
    #"("W", 1, 0, 0)"#, #"("W", 1, 100, 512)"#, #"("W", 1, 2**24, 512)"#, #"("W", 3, 0, 512)"#,
    #"("F", 1), ("W", 1, 0, 512)"#, #"("W", 1, 2**64 - 512, 1024)"#, #"("X", 0, 0, 0, b"no")"#,
  ])
  func `invalid announcements`(records: String) throws {
    try dir.produce(
      """
      packer = Packer("-o", "a.vma", "d=big.raw")
      os.truncate(os.open("big.raw", os.O_CREAT | os.O_RDWR), 2**24)
      packer.tell(
          ("D", 1, 0, 2**24, b"d"), ("D", 2, 0, 1024, b"told"), ("B",), \(records))
      refused(packer.leave())
      check(os.path.exists("a.vma"), False)
      """)
  }

  @Test func `the longest announced write`() throws {
    try dir.resize("big.raw", to: 20 << 20)
    try dir.produce(
      """
      packer = Packer("-o", "a.vma", "d=big.raw")
      packer.tell(("D", 1, 0, 20 * 2**20, b"d"), ("B",), ("W", 1, 2**20, 2**24))
      check(packer.message(), (2, 0))
      check(packer.message(), (1, COMPLETE))
      check(packer.end(1), (0, ""))
      """)
  }

  @Test func `the maximum number of messages fits the smallest pipe`() throws {
    try dir.produce(
      """
      import fcntl
      with open("d.raw", "wb") as file:
          file.write(b"x" * 512)
      packer = Packer("-o", "a.vma", *[f"d{n}=d.raw" for n in range(1, 255)])
      fcntl.fcntl(packer.answers, fcntl.F_SETPIPE_SZ, 4096)
      packer.tell(
          *[("D", n, 0, 512, b"d%d" % n) for n in range(1, 255)], ("B",),
          *[("W", n % 254 + 1, 0, 512) for n in range(256)])
      # They are not read, but the packer still succeeds.
      check(packer.end(*range(1, 255)), (0, ""))
      messages = packer.messages(510)
      check([m for m in messages if not m[1]], [(n, 0) for n in range(255, 511)])
      check(sorted(m for m in messages if m[1]), [(n, COMPLETE) for n in range(1, 255)])
      check(packer.message(), None)
      """)
    try dir.run(.unpack, "-t", "a.vma").succeeds()
  }

  @Test func `answers that are not read any more are a truncated stream`() throws {
    try dir.produce(
      """
      size = os.path.getsize("d.raw")
      for end in ["completion", "answer"]:
          packer = Packer("-o", "a.vma", "d=d.raw")
          packer.tell(("D", 1, 0, size, b"d"))
          if end == "completion":
              os.close(packer.answers)
              packer.tell(("B",))
          else:
              packer.tell(("B",))
              check(packer.message(), (1, COMPLETE))
              os.close(packer.answers)
              packer.tell(("W", 1, 0, 512))
          refused(packer.leave())
          check(os.path.exists("a.vma"), False)
      """)
  }

  @Test func `a producer that dies`() throws {
    try dir.produce(
      """
      size = os.path.getsize("d.raw")
      for records in [[], [("W", 1, 0, 512)], [("W", 1, 0, 512), ("F", 1)]]:
          packer = Packer("-o", "a.vma", "d=d.raw")
          packer.tell(("D", 1, 0, size, b"d"), ("B",), *records)
          refused(packer.leave())
          check(os.path.exists("a.vma"), False)
      """)
  }

  @Test func `a descriptor that is closed, or used otherwise`() throws {
    for number in 3...9 {
      try dir.sh("echo x | vma-pack --events --ack-fd \(number) \(number)>&-").fails(64, .pack)
    }
    for number in 0...2 {
      try dir.sh("echo x | vma-pack --events --ack-fd \(number)").fails(64, .pack)
    }
  }
}
