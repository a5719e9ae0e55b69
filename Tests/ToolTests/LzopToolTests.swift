// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

@Suite("B2: an archive is read without any other program", Requirements(["lzop", "perl"]))
struct LzopToolTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.sh("lzop -c a.vma > a.lzo").succeeds()
  }

  @Test("B2: a flipped bit is found, whatever LZOP contains")
  func environment() throws {
    let bytes = try dir.read("a.lzo")
    for place in [bytes.count / 3, bytes.count / 2] {
      var flipped = bytes
      flipped[place] ^= 4
      try dir.write(flipped, to: "flip.lzo")
      try dir.run(.cat, "flip.lzo", "scsi0", environment: ["LZOP": "-F"])
        .fails(65, .cat, saying: "lzop", silent: false)
    }
  }

  @Test("B2: damage is found if SIGCHLD is ignored")
  func ignoredChild() throws {
    let bytes = try dir.read("a.lzo")
    let start = "perl -e '$SIG{CHLD} = \"IGNORE\"; exec @ARGV' vma-unpack -t"
    try dir.write(Array(bytes.dropLast(9)), to: "cut.lzo")
    try dir.write(bytes + Array("garbage".utf8), to: "longer.lzo")
    try dir.write(bytes + Image.zeros(512), to: "zeros.lzo")
    for file in ["cut.lzo", "longer.lzo", "zeros.lzo"] {
      try dir.sh("\(start) \(file)").fails(65, .unpack, saying: "lzop")
    }
    try dir.sh("\(start) a.lzo").succeeds()
  }

  @Test("B2: no program lzop is needed")
  func withoutProgram() throws {
    try dir.makeDirectory("bin")
    try dir.sh("tool=$(type -p vma-unpack); PATH=\(dir("bin")) $tool -t a.lzo").succeeds()
  }
}
