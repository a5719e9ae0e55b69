// SPDX-License-Identifier: Apache-2.0

import Foundation
import System
import TestSupport
import Testing

/// A live backup starts a thread for each connection, so a QEMU that reconnects must not use up memory.
@Suite("Threads that end")
struct ThreadTests {
  @Test("a thread that is not joined frees its stack")
  func stack() throws {
    let before = try virtualSize()
    // 2000 stacks of 8 MiB would be 16 GiB.
    for _ in 0..<2000 {
      let done = DispatchSemaphore(value: 0)
      _ = try System.Thread { done.signal() }
      done.wait()
    }
    #expect(try virtualSize() - before < 4 << 30)
  }

  /// - Returns: bytes of address space in use.
  private func virtualSize() throws -> Int {
    let status = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
    return try #require(Int(status.prefix { $0 != " " })) * Int(getpagesize())
  }
}
