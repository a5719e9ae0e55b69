// SPDX-License-Identifier: Apache-2.0

import Command
import System
import Testing

@Suite struct PrintableTests {
  @Test(arguments: [
    ("plain ä €", "plain ä €"), ("\u{1b}[31mred", "\\x1B[31mred"), ("a\nb\tc", "a\\x0Ab\\x09c"),
    ("\u{9b}x\u{7f}", "\\xC2\\x9Bx\\x7F"), ("\u{202e}txt", "\\xE2\\x80\\xAEtxt"),
  ])
  func controlCharactersAreShown(text: String, shown: String) {
    #expect(String(printable: text.utf8) == shown)
  }

  @Test func bytesThatAreNoTextAreShown() {
    #expect(String(printable: [0x41, 0xff, 0xc3, 0x28, 0xe2, 0x82]) == "A\\xFF\\xC3(\\xE2\\x82")
  }

  @Test func linesCanStay() {
    #expect(String(printable: "a\n\tb\r".utf8, keepingLines: true) == "a\n\tb\\x0D")
  }
}

@Suite struct ByteCountTests {
  @Test(arguments: [
    ("0", 0), ("512", 512), ("528K", 540672), ("2m", 2 << 20), ("32G", 32 << 30), ("1T", 1 << 40),
  ])
  func sizesAreRead(text: String, bytes: UInt64) {
    #expect(ByteCount(argument: text)?.bytes == bytes)
  }

  @Test(arguments: ["", "K", "-1", "1.5G", "1KB", "0x10", "16777216T", "99999999999999999999", "١"])
  func otherTextIsNone(text: String) {
    #expect(ByteCount(argument: text) == nil)
  }

  @Test(arguments: [
    (0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.50 KiB"), (1 << 30, "1.00 GiB"),
    (12_900_000, "12.3 MiB"), (1_048_064, "1.00 MiB"),
  ])
  func sizesAreShown(bytes: UInt64, text: String) {
    #expect(ByteCount(bytes).description == text)
  }
}

@Suite struct NamedValueTests {
  @Test(arguments: [
    ("drive-scsi0=/dev/vg/disk", "drive-scsi0", "/dev/vg/disk"), ("a=b=c", "a", "b=c"),
    ("disk.raw", nil, "disk.raw"), ("./a=b.img", nil, "./a=b.img"), ("=x", nil, "=x"),
    ("nbd+unix:///a?socket=/s", nil, "nbd+unix:///a?socket=/s"), ("ä=x", nil, "ä=x"),
  ])
  func namesAreOnlyWhatCanBeOne(argument: String, name: String?, value: String) {
    #expect(NamedValue(argument).name == name)
    #expect(NamedValue(argument).value == value)
  }
}
