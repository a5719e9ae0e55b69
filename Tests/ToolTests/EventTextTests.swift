// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Numbers and texts of a stream with unusual values")
struct EventTextTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// One line of at most 500 bytes, which is safe for a terminal.
  private func expectRefusal(
    _ stream: EventStream, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try dir.run(.pack, "--events", input: .pipe(stream.bytes))
    outcome.fails(65, .pack, silent: false)
    let line = Array(outcome.errors.utf8)
    #expect(line.count <= 500, sourceLocation: sourceLocation)
    #expect(line.dropLast().allSatisfy { $0 >= 0x20 && $0 != 0x7f }, sourceLocation: sourceLocation)
    for word in words {
      #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: sourceLocation)
    }
  }

  @Test("A14: a time that would become negative", arguments: [1 << 63, .max] as [UInt64])
  func time(seconds: UInt64) throws {
    var stream = EventStream()
    stream.device(1, "d", 512)
    stream.begin(at: seconds)
    stream.zeros(1, at: 0, 512)
    stream.finish(1)
    stream.end()
    try expectRefusal(stream, "time \(seconds) in 'B' is not valid")
  }

  @Test("A14: the last valid time")
  func lastTime() throws {
    var stream = EventStream()
    stream.device(1, "d", 512)
    stream.begin(at: 1 << 63 - 1)
    stream.zeros(1, at: 0, 512)
    stream.finish(1)
    stream.end()
    let archive = try dir.run(.pack, "--events", input: .pipe(stream.bytes))
    try dir.run(.unpack, "-t", input: .pipe(archive.output)).succeeds()
  }

  private static let texts: [[UInt8]] = [
    [0x61], [0x1b], [0xc3, 0xa9], [0xff], [0xe2, 0x80, 0xae], [0x0a], [0xf0, 0x9f, 0x98, 0x80],
  ]

  /// Repeated as often as it fits.
  private func repeated(_ text: [UInt8], upTo count: Int) -> [UInt8] {
    var long = text
    while long.count <= count { long += long }
    return Array(long.prefix(count / text.count * text.count))
  }

  @Test("A14: a reason of 16 MiB", arguments: texts)
  func reason(text: [UInt8]) throws {
    var stream = EventStream()
    stream.put("X", 0, repeated(text, upTo: 16 << 20))
    try expectRefusal(stream, "aborted by the producer: ", "...\n")
  }

  @Test("A14: names of 65534 bytes", arguments: texts)
  func names(text: [UInt8]) throws {
    let name = repeated(text, upTo: 65534)
    var stream = EventStream()
    stream.put("D", 1, length: 512, name)
    stream.put("D", 2, length: 512, name)
    try expectRefusal(stream, "duplicate name ", "...\n")
  }

  @Test("A14: the name of an incomplete device")
  func gap() throws {
    var stream = EventStream()
    stream.put("D", 1, length: 512, repeated([0xc3, 0xa9], upTo: 240))
    stream.begin()
    stream.finish(1)
    try expectRefusal(stream, "... is finished, but")
  }
}
