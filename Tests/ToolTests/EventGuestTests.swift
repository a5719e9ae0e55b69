// SPDX-License-Identifier: Apache-2.0

import Testing

@Suite("While guests write, the archive is of the point in time of begin", requires("python3"))
struct EventGuestTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// Two hundred guests write to two disks, each write announced and held, or its old data sent; a
  /// slow reader delays copying.
  private static let hammer = #"""
    rng = random.Random(int(sys.argv[1]))
    SIZES, GUESTS, WRITES = [(36 << 20) + 1536, 10 << 20], 200, 3000
    disks, before = [], []
    for number, size in enumerate(SIZES):
        content = bytearray(rng.randbytes(size))
        for _ in range(20):
            place, count = rng.randrange(size // 4096) * 4096, rng.randrange(64) * 4096
            content[place:place + count] = bytes(min(count, size - place))
        disks.append(os.open(f"{number}.raw", os.O_RDWR | os.O_CREAT))
        os.pwrite(disks[number], content, 0)
        before.append(bytes(content))

    packer = Packer("0=0.raw", "1=1.raw", output=subprocess.PIPE)
    for number, size in enumerate(SIZES):
        packer.tell(("D", number + 1, 0, size, b"%d" % number))
    packer.tell(("B",))

    def store():
        with open("a.vma", "wb") as file:
            while piece := packer.process.stdout.read1(65536):
                file.write(piece)
                time.sleep(0.002)

    lock = threading.Lock()
    unanswered, complete, held = {}, set(), [0]

    def listen():
        while message := packer.message():
            if message[1]:
                check(message[1], COMPLETE)
                check(message[0] in (1, 2) and message[0] not in complete, True)
                complete.add(message[0])
            else:
                with lock:
                    unanswered.pop(message[0]).set()

    def guest(seed):
        rng = random.Random(seed)
        done = 0
        while done < WRITES / GUESTS or len(complete) < 2:
            done += 1
            number = rng.randrange(2)
            end = SIZES[number] // 512
            first = rng.randrange(end if rng.random() < 0.08 else 900)
            count = min(rng.choice([1, 8, 8, 128, 300]), end - first)
            place, length = first * 512, count * 512
            if number + 1 not in complete or rng.random() < 0.1:
                kind, payload = "W", b""
                if rng.random() < 0.3:
                    # This data may be too new by now; then the first record was sent long ago.
                    payload = os.pread(disks[number], length, place)
                    kind = "O" if any(payload) else "Z"
                    payload = payload if kind == "O" else b""
                answered = threading.Event()
                with lock:
                    sequence = packer.tell((kind, number + 1, place, length, payload, 1))
                    unanswered[sequence] = answered
                    held[0] += 1
                if not answered.wait(60):
                    sys.exit("no answer in time")
            data = bytes(length) if rng.random() < 0.1 else rng.randbytes(512) * count
            os.pwrite(disks[number], data, place)

    threads = [threading.Thread(target=run) for run in (store, listen)]
    guests = [
        threading.Thread(target=guest, args=(rng.random(),)) for _ in range(GUESTS)]
    for thread in threads + guests:
        thread.start()
    for thread in guests:
        thread.join()
    packer.tell(("F", 1), ("F", 2), ("E", 0, packer.count + 2))
    packer.process.stdin.close()
    check(packer.process.stderr.read(), b"")
    check(packer.process.wait(), 0)
    for thread in threads:
        thread.join()
    check((unanswered, complete), ({}, {1, 2}))
    for number, disk in enumerate(disks):
        check(os.pread(disk, SIZES[number], 0) == before[number], False)
        check(cat("a.vma", str(number)) == before[number], True)
    check(held[0] > 500, True)
    """#

  @Test(arguments: 1...4)
  func `thousands of held writes`(seed: Int) throws {
    try dir.produce(Self.hammer, "\(seed)")
    try dir.run(.unpack, "-t", "a.vma").succeeds()
  }

  /// Even if records always wait in the pipe, the disk must be copied.
  @Test func `a guest that always writes does not stop copying`() throws {
    try dir.write(Image.full(64 << 20, seed: 51), to: "d.raw")
    try dir.produce(
      """
      packer = Packer("d=d.raw")
      writes = b"".join(record(2 + n, "W", 1, 0, 512) for n in range(40_000))
      packer.tell(("D", 1, 0, 64 << 20, b"d"), ("B",), *[("W", 1, 0, 512)] * 100)
      sent, heard, messages = 100, 0, b""
      complete = struct.pack(">II", 1, COMPLETE)
      while complete not in messages[-8192:]:
          count = 250 - (sent - heard)
          if sent + count > 40_000:
              sys.exit("no copying for 40000 records")
          os.write(packer.stdin, writes[32 * sent:32 * (sent + count)])
          sent += count
          messages += os.read(packer.answers, 512)
          heard = len(messages) // 8
      packer.count = 2 + sent
      check(packer.end(1), (0, ""))
      """)
  }

  @Test func `a write waits while the storage stalls, and memory does not grow`() throws {
    let image = Image.full(40 << 20, seed: 52)
    try dir.write(image, to: "d.raw")
    try dir.produce(
      """
      packer = Packer("d=d.raw", output=subprocess.PIPE)
      packer.tell(("D", 1, 0, 40 << 20, b"d"), ("B",))
      time.sleep(0.5)
      # Some space is reserved for writes: one to a saved area, one to another area.
      packer.tell(("W", 1, 0, 512), ("W", 1, 39 << 20, 512))
      check(packer.messages(2), [(2, 0), (3, 0)])
      # When that is full, they wait.
      packer.tell(*[("W", 1, n << 20, 1 << 20) for n in range(18, 38)])
      early = 0
      while packer.hears(0.5):
          check(packer.message(), (4 + early, 0))
          early += 1
      check(early < 10, True)
      with open(f"/proc/{packer.process.pid}/status") as status:
          line = next(line for line in status if line.startswith("VmHWM"))
      if int(line.split()[1]) > 64 << 10:
          sys.exit(line)
      file = open("a.vma", "wb")
      copier = threading.Thread(target=lambda: file.write(packer.process.stdout.read()))
      copier.start()
      messages = packer.messages(21 - early)
      check([m for m in messages if m[1] == 0], [(n, 0) for n in range(4 + early, 24)])
      check((1, COMPLETE) in messages, True)
      packer.tell(("F", 1), ("E", 0, packer.count + 1))
      packer.process.stdin.close()
      copier.join()
      file.close()
      check(packer.process.wait(), 0)
      """)
    expectSame(try ParsedArchive(try dir.read("a.vma")).image("d"), image)
  }
}
