// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("The nbdkit example: announced writes without QEMU", requires(.nbdkitPython, .pythonNBD))
struct EventExampleTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// A guest with four connections and sixteen requests in progress on each, until it is stopped.
  private static let guest = #"""
    import errno, hashlib, os, random, signal, subprocess, sys, threading, time
    import nbd

    rng = random.Random(int(sys.argv[2]))
    size = (24 << 20) + 512
    content = bytearray(rng.randbytes(size))
    content[5 << 20:8 << 20] = bytes(3 << 20)
    with open("disk.raw", "wb") as file:
        file.write(content)
    os.mkfifo("out.fifo")
    with open("pack", "w") as file:
        file.write('#!/bin/sh\necho $$ >pack.pid\nexec vma-pack "$@"\n')
    os.chmod("pack", 0o755)
    server = subprocess.Popen([
        "nbdkit", "-f", "-U", "disk.sock", "-t", "64", "python", sys.argv[1], "file=disk.raw",
        "device=drive-scsi0", "archive=out.fifo", "pack=./pack", *sys.argv[3:]])
    stop, received, writes = threading.Event(), [0], [0] * 4

    def guest(number, seed):
        rng = random.Random(seed)
        handle = nbd.NBD()
        handle.connect_unix("disk.sock")
        waiting = []
        while not stop.is_set():
            offset = rng.randrange(size - 1)
            length = min(rng.choice([1, 512, 4096, 65536, 100_000]), size - offset)
            kind = rng.random()
            if kind < 0.8:
                buffer = nbd.Buffer.from_bytearray(bytearray(rng.randbytes(length)))
                cookie = handle.aio_pwrite(buffer, offset)
            elif kind < 0.9:
                cookie = handle.aio_zero(length, offset)
            else:
                cookie = handle.aio_trim(length, offset)
            waiting.append(cookie)
            while len(waiting) >= 16:
                handle.poll(-1)
                # Raises an error if a write has failed.
                waiting = [c for c in waiting if not handle.aio_command_completed(c)]
            writes[number] += 1
        while waiting:
            handle.poll(-1)
            waiting = [c for c in waiting if not handle.aio_command_completed(c)]
        handle.shutdown()

    failures = []

    def guarded(*arguments):
        try:
            guest(*arguments)
        except BaseException as error:
            failures.append(str(error))

    def take(file, count=None):
        """Takes the archive in slowly, so that the backup lasts."""
        while (count is None or received[0] < count) and (piece := file.read(32768)):
            archive.write(piece)
            received[0] += len(piece)
            time.sleep(0.002)

    for _ in range(2000):
        if os.path.exists("disk.sock"):
            break
        time.sleep(0.01)
    archive, file = open("a.vma", "wb"), open("out.fifo", "rb", buffering=0)
    guests = [threading.Thread(target=guarded, args=(n, rng.random())) for n in range(4)]
    for thread in guests:
        thread.start()
    """#

  /// - Returns: its standard error.
  @discardableResult
  private func run(_ rest: String, seed: Int, _ parameters: String = "") throws -> String {
    let plugin = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("examples/nbdkit-live-backup.py").path
    let end = """
      stop.set()
      for thread in guests:
          thread.join(60)
      server.terminate()
      server.wait()
      if failures or any(thread.is_alive() for thread in guests):
          sys.exit(f"writes failed: {failures}")
      """
    try dir.write(Self.guest + "\n" + rest + "\n" + end, to: "guest.py")
    let outcome = try dir.sh("/usr/bin/python3 guest.py '\(plugin)' \(seed) \(parameters)")
    #expect(outcome.ending == .exit(0), "\(outcome.errors)")
    return outcome.errors
  }

  @Test(arguments: 1...3)
  func `the archive contains the disk as it was at the start`(seed: Int) throws {
    try run(
      """
      take(file)
      archive.close()
      # The guests continue to write after the backup, unannounced.
      before = sum(writes)
      time.sleep(0.3)
      if sum(writes) - before < 10:
          failures.append("the guests stand still")
      found = subprocess.run(["vma-cat", "a.vma", "scsi0"], stdout=subprocess.PIPE, check=True)
      if found.stdout != content:
          failures.append("the archive is of another time")
      if open("disk.raw", "rb").read() == content or before < 300:
          failures.append(f"only {before} writes")
      """, seed: seed)
    try dir.run(.unpack, "-t", "a.vma").succeeds()
  }

  @Test("A15: requests to keep space allocated, and a limit on how long guests wait")
  func parameters() throws {
    let errors = try run(
      """
      take(file)
      archive.close()
      stop.set()
      for thread in guests:
          thread.join(60)
      handle = nbd.NBD()
      handle.connect_unix("disk.sock")
      start, length = 16 << 20, 4 << 20
      handle.pwrite(b"x" * length, start)
      before = os.stat("disk.raw").st_blocks
      handle.zero(length, start, nbd.CMD_FLAG_NO_HOLE)
      after = os.stat("disk.raw").st_blocks
      if handle.pread(length, start) != bytes(length):
          failures.append("no zeros")
      handle.shutdown()
      if after < before:
          failures.append(f"holes were punched: {before} blocks, {after}")
      for seconds in ("30", "0", "nan", "x"):
          refused = subprocess.run(
              ["nbdkit", "-f", "-U", "other.sock", "python", sys.argv[1], "file=disk.raw",
               "archive=other.vma", "timeout=" + seconds], stderr=subprocess.PIPE, timeout=20)
          if refused.returncode != 1 or b"timeout must be" not in refused.stderr:
              failures.append(f"timeout={seconds}: {refused}")
      """, seed: 9)
    #expect(!errors.contains("backup failed"), "\(errors)")
  }

  @Test(
    "A15: a packer that dies, or is stopped, fails no write, and that is reported",
    arguments: [SIGKILL, SIGTERM, SIGSTOP])
  func packerDies(number: Int32) throws {
    let errors = try run(
      """
      take(file, 2 << 20)
      pid = int(open("pack.pid").read())
      os.kill(pid, \(number))
      before = sum(writes)
      for _ in range(1000):
          if sum(writes) > before + 500:
              break
          time.sleep(0.02)
      else:
          failures.append("the guests stand still")
      if \(number) == signal.SIGSTOP:
          os.kill(pid, signal.SIGKILL)
      while piece := file.read(65536):
          archive.write(piece)
      archive.close()
      """, seed: 7, number == SIGSTOP ? "timeout=1" : "")
    let reason = number == SIGSTOP ? "a write was held for 1 seconds" : "vma-pack ended with signal"
    #expect(
      errors.contains("nbdkit-live-backup: drive-scsi0: backup failed: \(reason)"), "\(errors)")
    try dir.run(.unpack, "-t", "a.vma").fails(65, .unpack)
  }
}
