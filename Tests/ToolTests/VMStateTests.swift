// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

@Suite("A VM state has as many clusters as are present, whatever its size")
struct VMStateTests {
  @Test(requires("tar"), arguments: [1, 3 * clusterSize + 512])
  func `D: a VM state that is longer than its size is restored completely`(size: Int) throws {
    let dir = try Scratch()
    let state = Image.full(5 * clusterSize, seed: 60)
    var archive = Archive([Archive.Disk("vmstate", state)])
    archive.devices[0].size = UInt64(size)
    try dir.write(archive.bytes(), to: "a.vma")
    for (target, input) in [("file", Input.file(dir("a.vma"))), ("pipe", .pipe(archive.bytes()))] {
      try dir.run(.unpack, "-C", target, input: input).succeeds()
      try dir.expect("\(target)/vmstate.bin", holds: state)
      expectSame(try dir.run(.cat, "-", "vmstate", input: input).succeeds().output, state)
    }
    try dir.sh("vma-to-tar a.vma | tar -xO vmstate.bin > from-tar").succeeds()
    try dir.expect("from-tar", holds: state)
  }
}
