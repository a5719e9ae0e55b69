// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Event data waits in bounded memory, then in an unlinked file", requires("python3"))
struct EventMemoryTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// Sends every cluster without its first sector, and only then the first sectors, so that the
  /// entire disk must wait.
  private static let unfinished = #"""
    count, folder, *options = int(sys.argv[1]), os.path.realpath(sys.argv[2]), *sys.argv[3:]
    rng = random.Random(count)
    size = count * 65536
    clusters = [rng.randbytes(65536) for _ in range(16)]
    packer = subprocess.Popen(
        ["vma-pack", "--events", "-o", "a.vma", *options], stdin=subprocess.PIPE,
        stderr=subprocess.PIPE)
    number = 0

    def tell(*fields):
        global number
        packer.stdin.write(record(number, *fields))
        number += 1

    def files():
        """The temporary files: (name, bytes on disk)."""
        base = f"/proc/{packer.pid}/fd"
        names = [(os.readlink(f"{base}/{fd}"), f"{base}/{fd}") for fd in os.listdir(base)]
        return [
            os.stat(fd).st_blocks * 512 for name, fd in names
            if name.startswith(folder + "/") and name.endswith("(deleted)")]

    try:
        tell("D", 1, 0, size, b"d")
        tell("B")
        order = rng.sample(range(count), count)
        for cluster in order:
            tell("O", 1, cluster * 65536 + 512, 65024, clusters[cluster % 16][512:])
        packer.stdin.flush()
        if count > 200:
            check(len(files()), 1)
            check(files()[0] > (count - 200) * 65536, True)
        check(os.listdir(folder), [])
        for cluster in rng.sample(range(count), count):
            tell("O", 1, cluster * 65536, 512, clusters[cluster % 16][:512])
        packer.stdin.flush()
        tell("F", 1)
        tell("E", 0, number)
        packer.stdin.close()
    except BrokenPipeError:
        pass
    sys.stderr.write(packer.stderr.read().decode())
    status = packer.wait()
    if status:
        sys.exit(status)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if memory > 64 << 10:
        sys.exit(f"{memory} KiB of memory")
    disk = cat("a.vma", "d")
    for cluster in range(count):
        check(disk[cluster * 65536:(cluster + 1) * 65536] == clusters[cluster % 16], True)
    """#

  @Test(arguments: [(100, []), (1500, []), (1500, ["--tmpdir", "wait"])])
  func `partial clusters`(count: Int, options: [String]) throws {
    try dir.makeDirectory("wait")
    let folder = options.isEmpty ? dir.temporary : dir("wait")
    try dir.write(EventProducer.script(Self.unfinished), to: "producer.py")
    let words = (["\(count)", folder] + options).joined(separator: " ")
    try dir.sh("python3 producer.py \(words)").succeeds()
    try dir.expectNames([], in: "wait")
  }

  @Test(requires(.mounts)) func `no space for them is 74`() throws {
    try dir.makeDirectory("small")
    try dir.write(EventProducer.script(Self.unfinished), to: "producer.py")
    try dir.write(
      """
      mount -t tmpfs -o size=4M none small || exit 9
      python3 producer.py 1000 small --tmpdir small
      status=$?
      ls -A small
      exit $status
      """, to: "run")
    let outcome = try dir.sh("unshare --map-root-user --mount bash run")
    // The producer would also detect that its file is too small, but never gets there.
    outcome.fails(74, .pack)
    #expect(!dir.exists("a.vma"))
  }

  @Test func `a missing folder for them`() throws {
    try dir.write(EventProducer.script(Self.unfinished), to: "producer.py")
    try dir.sh("python3 producer.py 1000 . --tmpdir no/such").fails(73, .pack)
    #expect(!dir.exists("a.vma"))
  }

  /// The limit of the process simulates ext4, whose largest file is 16 TiB.
  @Test func `the file is no larger than the waiting data, however large the disk`() throws {
    try dir.produce(
      """
      resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
      packer = subprocess.Popen(
          ["vma-pack", "--events"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
          stderr=subprocess.PIPE)
      stream = record(0, "D", 1, 0, 1 << 48, b"d") + record(1, "B")
      # One sector each of many clusters, all over the disk.
      for n in range(int(sys.argv[1])):
          stream += record(2 + n, "O", 1, n * (1 << 38), 512, b"x" * 512)
      errors = packer.communicate(stream + record(602, "X", 0, 0, 0, b"enough"))[1]
      check((packer.returncode, errors.count(b"enough")), (65, 1))
      """, "600")
  }

  @Test func `claims alone cost no memory`() throws {
    try dir.produce(
      """
      packer = subprocess.Popen(
          ["vma-pack", "--events", "-o", "a.vma"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
      stream = b"".join(
          record(n - 1, "D", n, 0, 1 << int(sys.argv[1]), b"%d" % n) for n in range(1, 255))
      stream += record(254, "B")
      # Sends a sector of each, anywhere.
      for n in range(1, 255):
          stream += record(254 + n, "Z", n, 512 << n % 30, 512)
      errors = packer.communicate(stream + record(509, "X", 0, 0, 0, b"enough"))[1]
      check((packer.returncode, errors.count(b"enough")), (65, 1))
      memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
      if memory > 128 << 10:
          sys.exit(f"{memory} KiB of memory")
      """, "42")
  }
}
