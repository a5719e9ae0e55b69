// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Command

@Suite struct LongTextTests {
  @Test(arguments: ["x", "ü", "…", "😀", "\u{1b}"])
  func `is shortened in the middle, between characters`(character: String) {
    for count in Array(stride(from: 0, to: 1200, by: 17)) + Array(485...495) {
      let text = "start" + String(repeating: character, count: count) + "end"
      let short = String(printable: text.utf8, atMost: 499)
      let whole = String(printable: text.utf8)
      if whole.utf8.count <= 499 {
        #expect(short == whole)
      } else {
        #expect((490...499).contains(short.utf8.count))
        let ends = short.split(separator: "…", omittingEmptySubsequences: false)
        #expect(whole.hasPrefix(ends[0]) && ends[0].hasPrefix("start"))
        #expect(whole.hasSuffix(ends[ends.count - 1]) && short.hasSuffix("end"))
        #expect(!short.contains("\u{fffd}"))
      }
    }
  }

  @Test func `a very long text costs only the time of its ends`() {
    let text = [UInt8](repeating: 0x80, count: 16 << 20)
    let short = String(printable: text, atMost: 499)
    #expect(short.hasPrefix("\\x80") && short.hasSuffix("\\x80") && short.utf8.count <= 499)
  }
}
