// SPDX-License-Identifier: Apache-2.0

import System
import Testing

@Suite("The progress line")
struct ProgressTests {
  private func line(_ done: UInt64, of total: UInt64, width: Int = .max) -> String {
    Progress.line(done: done, of: total, after: 10, width: width)
  }

  @Test func `with a total: share, time left, rate, sizes`() {
    #expect(
      line(1 << 30, of: 4 << 30) == "25 %, 0:30 left, 102 MiB/s, 1.00 GiB of 4.00 GiB")
    #expect(line(4 << 30, of: 4 << 30).hasPrefix("100 %, "))
    // vmstate may be longer than its size.
    #expect(line(5 << 30, of: 4 << 30).hasSuffix("4.00 GiB of 4.00 GiB"))
  }

  @Test func `without a total: bytes done and rate`() {
    #expect(line(1 << 30, of: 0) == "102 MiB/s, 1.00 GiB")
  }

  @Test func `the least important parts are omitted if they do not fit`() {
    let name = "vma-unpack: ".count
    #expect(line(1 << 30, of: 4 << 30, width: 30 - name) == "25 %, 0:30 left")
    #expect(line(1 << 30, of: 4 << 30, width: 1) == "25 %")
    for total: UInt64 in [1 << 20, 1 << 40, .max] {
      #expect(line(1, of: total, width: 79 - name).count <= 79 - name)
    }
  }
}
