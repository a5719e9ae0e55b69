// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Node, ssh and expect make standard descriptors non-blocking, for themselves and for all
/// processes that share them.
@Suite("C3: non-blocking descriptors", requires("python3"))
struct NonBlockingTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    // More than the largest pipe can contain.
    let image = Image.full(6 << 20, seed: 31)
    try dir.write(image, to: "d.img")
    try dir.write(
      Archive([Archive.Disk("d", image)], order: .shuffled(seed: 5)).bytes(), to: "a.vma")
    // Runs its arguments with non-blocking standard descriptors of the given kind; input is sent,
    // and output is read, in pieces with pauses.
    try dir.write(
      """
      import os, pty, select, socket, subprocess, sys, threading, time
      kind, source, target, late = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "late"
      def ends():
          if kind == "pipe": return os.pipe()
          a, b = socket.socketpair()
          return a.detach(), b.detach()
      (in_ours, in_theirs), (out_ours, out_theirs), (err_ours, err_theirs) = (
          ends()[::-1], ends(), ends())
      def block(): [os.set_blocking(fd, False) for fd in (in_theirs, out_theirs, err_theirs)]
      if not late: block()
      child = subprocess.Popen(sys.argv[5:], stdin=in_theirs, stdout=out_theirs, stderr=err_theirs)
      def feed():
          with open(source, "rb") as file:
              while piece := file.read(1 << 18):
                  view = memoryview(piece)
                  try:
                      while view: view = view[os.write(in_ours, view):]
                  except BrokenPipeError: break
                  time.sleep(0.004)
          os.close(in_ours)
      threading.Thread(target=feed, daemon=True).start()
      if late:
          time.sleep(0.03)
          block()
      threading.Thread(target=lambda: (child.wait(), os.close(out_theirs), os.close(err_theirs)),
                       daemon=True).start()
      def errors():
          while piece := os.read(err_ours, 1 << 16): os.write(2, piece)
      listener = threading.Thread(target=errors)
      listener.start()
      with open(target, "wb") as file:
          while piece := os.read(out_ours, 1 << 17):
              file.write(piece)
              time.sleep(0.001)
      listener.join()
      sys.exit(child.wait())
      """, to: "nonblocking.py")
  }

  @Test(arguments: ["pipe", "socket"], ["early", "late"])
  func `C3: reading and writing wait`(kind: String, time: String) throws {
    let run = { (arguments: String, input: String) in
      try dir.sh("python3 nonblocking.py \(kind) \(input) result \(time) \(arguments)").succeeds()
    }
    _ = try run("vma-cat -", "a.vma")
    try dir.expect("result", holds: try dir.read("d.img"))
    _ = try run("vma-unpack -C out -", "a.vma")
    try dir.expect("out/disk-d.raw", holds: try dir.read("d.img"))
    let tar = try dir.run(.toTar, "a.vma").succeeds().output
    for arguments in ["vma-to-tar -", "vma-to-tar a.vma"] {
      _ = try run(arguments, "a.vma")
      expectSame(try dir.read("result"), tar, arguments)
    }
    for options in ["", "-z "] {
      let fixed = "--uuid 12345678-1234-1234-1234-123456789abc --ctime 1 \(options)"
      let whole = try dir.sh("vma-pack \(fixed) d=d.img").succeeds().output
      _ = try run("vma-pack \(fixed) --size d=6M d=-", "d.img")
      expectSame(try dir.read("result"), whole, "vma-pack \(options)")
    }
  }

  @Test func `C3: a message on a non-blocking standard error is complete`() throws {
    let outcome = try dir.sh(
      """
      python3 nonblocking.py pipe /dev/null result early bash -c '
        head -c 60000 /dev/zero >&2; vma-unpack -t missing.vma; exit $?'
      """)
    #expect(outcome.ending == .exit(66))
    #expect(outcome.errors.hasSuffix("vma-unpack: missing.vma: No such file or directory\n"))
  }
}
