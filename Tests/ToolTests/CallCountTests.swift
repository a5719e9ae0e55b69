// SPDX-License-Identifier: Apache-2.0

import Testing

/// System calls show the cost of a tool even on a busy machine.
@Suite("Fragmented disks cost few system calls")
struct CallCountTests {
  let dir: Scratch
  private static let size = 8
  private static let runs = size << 20 / 8192
  /// Every second block is zeros: the maximum number of holes and pieces of data.
  private static let image = (0..<runs).flatMap {
    Image.full(4096, seed: UInt64($0)) + Image.zeros(4096)
  }

  init() throws {
    dir = try Scratch()
    try dir.write(Archive([Archive.Disk("d", Self.image)]).bytes(), to: "a.vma")
  }

  private func count(_ calls: [String: Int], _ names: String...) -> Int {
    names.reduce(0) { $0 + calls[$1, default: 0] }
  }

  @Test func `vma-cat into a pipe gathers data and zeros`() throws {
    let bytes = try dir.read("a.vma")
    for (operand, input) in [("a.vma", Input.nothing), ("-", .pipe(bytes))] {
      let calls = try dir.countCalls(.cat, [operand], input: input)
      // One for each piece that was read; a file may take another for each extent header.
      #expect(count(calls, "write", "writev") <= 4 * Self.size + 8)
      #expect(count(calls, "lseek", "ftruncate", "pread", "pwrite", "fallocate") <= 4 * Self.size)
      expectSame(try dir.run(.cat, [operand], input: input).succeeds().output, Self.image, operand)
    }
  }

  @Test func `vma-cat into a file makes one call for each piece of data`() throws {
    for (operand, input) in [("a.vma", Input.nothing), ("-", .file(dir("a.vma")))] {
      let calls = try dir.countCalls(.cat, [operand], input: input, output: .file(dir("out")))
      try dir.expect("out", holds: Self.image)
      #expect(count(calls, "write", "writev", "pwrite") <= Self.runs + 8)
      #expect(count(calls, "lseek", "ftruncate", "pread") <= 4 * Self.size + 8)
      try dir.sh("rm out").succeeds()
    }
  }

  @Test func `vma-cat merges zeros from many extents`() throws {
    try dir.write(Archive([Archive.Disk("d", Image.zeros(64 << 20))]).bytes(), to: "zeros.vma")
    let piped = try dir.countCalls(.cat, ["zeros.vma"])
    #expect(count(piped, "write", "writev") <= 64 / 4 + 8)
    let filed = try dir.countCalls(.cat, ["zeros.vma"], output: .file(dir("out")))
    #expect(count(filed, "write", "writev", "pwrite") == 0)
    #expect(count(filed, "lseek", "ftruncate") <= 8)
    try dir.expect("out", holds: Image.zeros(64 << 20))
  }

  @Test func `vma-unpack makes one call for each piece of data`() throws {
    let calls = try dir.countCalls(.unpack, ["-C", "out", "a.vma"])
    #expect(count(calls, "write", "writev", "pwrite") <= Self.runs + 8)
    #expect(count(calls, "lseek", "ftruncate") <= 16)
    try dir.expect("out/disk-d.raw", holds: Self.image)
  }
}
