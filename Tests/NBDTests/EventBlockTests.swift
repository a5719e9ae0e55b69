// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite("Old data of parts of blocks, and a server that reads only whole blocks")
struct EventBlockTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  @Test(
    "A13: the rest of a block is read with the block", requires("nbdkit"),
    arguments: [4096, 65536])
  func wholeBlocks(size: Int) throws {
    _ = try dir.sh(
      "python3 -c 'open(\"disk\", \"wb\").write((b\"x\" * 512 + b\"y\" * 65536)[:65536] * 32)'")
    let server = try Server.nbdkit(
      dir, "--filter=blocksize-policy", "file", "disk", "blocksize-minimum=\(size)",
      "blocksize-preferred=65536",
      "blocksize-error-policy=error")
    let run = try dir.sh(
      """
      cat > events.py <<'.'
      import struct, sys
      number = 0
      def tell(kind, device=0, offset=0, length=0, payload=b""):
          global number
          sys.stdout.buffer.write(struct.pack(
              ">4sBBHQQII", b"CBE1", ord(kind), device, 0, offset, length, len(payload), number))
          sys.stdout.buffer.write(payload)
          number += 1
      tell("D", 1, 0, 2 << 20, b"d")
      tell("B")
      tell("O", 1, 1536, 512, b"a" * 512)
      tell("O", 1, 65536 + 4096, 512, b"b" * 512)
      tell("O", 1, 3 * 65536 + 512, 65536, b"c" * 65536)
      tell("Z", 1, (2 << 20) - 512, 512)
      tell("F", 1)
      tell("E", 0, number)
      .
      python3 events.py > events
      vma-pack --events --ack-fd 3 'd=\(server.uri)' < events 3> answers > a.vma &&
        vma-cat a.vma d > d.raw
      python3 - <<'.'
      disk = bytearray(open("disk", "rb").read())
      disk[1536:2048] = b"a" * 512
      disk[65536 + 4096:65536 + 4608] = b"b" * 512
      disk[3 * 65536 + 512:4 * 65536 + 512] = b"c" * 65536
      disk[-512:] = bytes(512)
      print(open("d.raw", "rb").read() == disk)
      .
      """)
    #expect(run.errors == "" && String(decoding: run.output, as: UTF8.self) == "True\n", "\(run)")
  }
}
