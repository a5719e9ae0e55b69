// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite("Once a run succeeds, its data is on disk", requires(.tracing))
struct SyncTests {
  /// Without a sync, a power failure could lose half of the targets of `-m` that were written.
  @Test func `D: a file that is overwritten in place is synced after the last write`() throws {
    let dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
    try dir.resize("target", to: Sample.scsi.count)
    let calls = "write,pwrite64,writev,pwritev,fallocate,fsync,fdatasync"
    try dir.sh(
      """
      strace -f -y -o log -e trace=\(calls) \
        vma-unpack -d scsi0 --no-configs -m scsi0=target a.vma
      """
    ).succeeds()
    let log = String(decoding: try dir.read("log"), as: UTF8.self)
    let lines = log.split(separator: "\n").filter { $0.contains("/target>") }
    let isSync = lines.map { $0.contains("fsync(") || $0.contains("fdatasync(") }
    #expect(isSync.contains(false), "the target is written: \(log)")
    #expect(isSync.last == true, "\(lines.suffix(3))")
  }
}
