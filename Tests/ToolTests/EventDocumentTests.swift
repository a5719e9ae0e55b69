// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("What vma-events(5) says is true", requires("mandoc"))
struct EventDocumentTests {
  let dir: Scratch
  private let page: [String]

  init() throws {
    dir = try Scratch()
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("man/vma-events.5").path
    page = try dir.sh("mandoc -T ascii -O width=100 '\(source)' | col -b -x").lines
  }

  /// The stream of the page's hex dump.
  private static let dumped: EventStream = {
    var stream = EventStream()
    stream.config("vm.conf", Array("cores: 2\n".utf8))
    stream.device(1, "drive-scsi0", 4096)
    stream.begin(at: 0x6b03_d827)
    stream.old(1, at: 512, [UInt8](repeating: 0x41, count: 512), byGuest: true)
    stream.zeros(1, at: 0, 4096)
    stream.finish(1)
    stream.end()
    return stream
  }()

  @Test func `every byte of the dump`() throws {
    var next = 0
    for line in page {
      let words = line.split(separator: " ")
      guard let head = words.first, head.count == 4, let offset = Int(head, radix: 16),
        words.count > 1, words[1].count == 2
      else { continue }
      #expect(offset == next, "\(line)")
      let bytes = words.dropFirst().prefix(8).prefix { $0.count == 2 }
        .compactMap { UInt8($0, radix: 16) }
      #expect(Array(Self.dumped.bytes[offset..<offset + bytes.count]) == bytes, "\(line)")
      next += words.contains("...") ? 512 : bytes.count
    }
    #expect(next == Self.dumped.bytes.count)
    let archive = try dir.pack(Self.dumped)
    #expect(archive.ctime == 0x6b03_d827)
    expectSame(
      try archive.image("drive-scsi0"),
      Image.zeros(512) + [UInt8](repeating: 0x41, count: 512) + Image.zeros(3072))
  }

  @Test(requires("python3")) func `the producer, as printed in the page`() throws {
    let first = try #require(page.firstIndex { $0.hasSuffix("#!/usr/bin/env python3") })
    let last = try #require(page.lastIndex { $0.hasSuffix("listener.join()") })
    let indent = page[first].prefix { $0 == " " }.count
    let program = page[first...last].map { String($0.dropFirst(indent)) }
    try dir.write(program.joined(separator: "\n") + "\n", to: "producer.py")
    let command = try #require(page.first { $0.contains("python3 producer.py disk.raw") })
    let next = try #require(page.first { $0.contains("--ack-fd 3") && $0.contains(">a.vma") })
    let image = Image.full(20 * clusterSize + 512, seed: 61)
    try dir.write(image, to: "disk.raw")
    try dir.sh("mkfifo answers\n\(command)\n\(next)").succeeds()
    expectSame(try ParsedArchive(try dir.read("a.vma")).image("drive-scsi0"), image)
    var changed = image
    changed.replaceSubrange(4096..<4101, with: Array("hello".utf8))
    try dir.expect("disk.raw", holds: changed)

    // Writes to distant places, including the last byte, through the same program.
    let words = (0..<300).map { "\($0 * 4368) w\($0)\n" }.joined() + "\(image.count - 1) z\n"
    try dir.write(words, to: "writes")
    try dir.sh(
      command.replacingOccurrences(of: "echo 4096 hello |", with: "").replacingOccurrences(
        of: "3<answers", with: "3<answers <writes") + next
    ).succeeds()
    expectSame(try ParsedArchive(try dir.read("a.vma")).image("drive-scsi0"), changed)
    #expect(try dir.read("disk.raw").last == UInt8(ascii: "z"))

    // If the packer cannot even start, no write is held.
    let broken = command.replacingOccurrences(of: "hello", with: "again") + " false 3>answers"
    try dir.sh(broken + "; exit ${PIPESTATUS[1]}").succeeds()
    #expect(try Array(dir.read("disk.raw")[4096..<4101]) == Array("again".utf8))
  }
}
