// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("D: system calls fail on demand")
struct FaultInjectionTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.makeDirectory("out")
  }

  @Test func `D: the n-th call fails, and only that`() throws {
    let calls = try dir.countCalls(.unpack, ["-C", "first", "a.vma"])
    let count = try #require(calls["pwrite"])
    #expect(count > 2)
    try dir.run(.unpack, ["-C", "out", "a.vma"], fault: "pwrite:2:ENOSPC")
      .fails(74, .unpack, saying: "No space left on device")
    try dir.expectNames([], in: "out")
    try dir.run(.unpack, ["-C", "out", "a.vma"], fault: "pwrite:\(count + 1):ENOSPC").succeeds()
    try dir.expectWhole(in: "out")
  }

  @Test func `D: a call fails from a certain time on`() throws {
    for rule in ["linkat:*:EPERM,renameat2:*:EPERM,renameat:*:EPERM", "linkat:2+:EPERM"] {
      try dir.run(.unpack, ["-C", "out", "a.vma"], fault: rule)
        .fails(73, .unpack, saying: "Operation not permitted")
      try dir.expectNames([], in: "out")
    }
  }

  @Test(arguments: [
    "read:*:short=1000,pread:*:short=1000,pwrite:*:short=100", "write:*:short,writev:*:short=3000",
    "read:1:EINTR,pread:2:EINTR,pwrite:3:EINTR,fsync:1:EINTR",
    "read:1:EAGAIN,write:1:EAGAIN,writev:1:EAGAIN,pwrite:1:EAGAIN",
    "fsync:1:delay=100",
  ])
  func `D: short, interrupted and delayed calls change nothing`(rules: String) throws {
    try dir.run(.unpack, ["-C", "out", "a.vma"], fault: rules).succeeds(rules)
    try dir.expectWhole(in: "out")
    let cat = try dir.run(.cat, ["a.vma", "scsi0"], fault: rules).succeeds(rules)
    expectSame(cat.output, Sample.scsi, rules)
    let tar = try dir.run(.toTar, ["-"], input: .pipe(Sample.wholeBytes), fault: rules)
    expectSame(tar.succeeds(rules).output, try dir.run(.toTar, "a.vma").output, rules)
  }

  @Test func `D: exhausted memory and threads are one line`() throws {
    for tool in Tool.readers {
      let arguments =
        tool == .unpack ? ["-t", "a.vma"] : tool == .cat ? ["a.vma", "scsi0"] : ["a.vma"]
      try dir.run(tool, arguments, fault: "mmap:2+:ENOMEM")
        .fails(1, tool, saying: "Cannot allocate memory")
      try dir.run(tool, arguments, fault: "pthread_create:*:EAGAIN")
        .fails(1, tool, saying: "Resource temporarily unavailable")
    }
  }

  @Test func `D: an invalid rule is not ignored`() throws {
    for rule in ["pwrite", "pwrite:0:EIO", "pwrite:1:EFOO", "open:1:EIO", "read:1:delay"] {
      let outcome = try dir.run(.unpack, ["-l", "a.vma"], fault: rule)
      #expect(outcome.ending == .exit(99), "\(rule)")
    }
  }
}
