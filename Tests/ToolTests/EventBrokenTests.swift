// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// A fault of a stream, and how to create it.
private struct Fault: Sendable, CustomTestStringConvertible {
  var testDescription: String
  var words: String
  var build: @Sendable (inout EventStream) -> Void

  init(
    _ description: String, saying words: String = "",
    _ build: @escaping @Sendable (inout EventStream) -> Void
  ) {
    testDescription = description
    self.words = words
    self.build = build
  }
}

/// Ends a stream of the two devices that `told` begins.
private func end(_ stream: inout EventStream) {
  stream.finish(1)
  stream.finish(2)
  stream.end()
}

private let diskSize = 132_608

@Suite("A damaged stream is 65 with one line, and leaves no file and no archive that passes a test")
struct EventBrokenTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  /// Up to the last record before the first `F`; all data is sent.
  private static func told() -> EventStream {
    var stream = declared()
    stream.begin()
    stream.old(1, at: 0, Image.full(diskSize, seed: 1))
    stream.state(2, Image.full(512, seed: 2))
    return stream
  }

  private static func declared() -> EventStream {
    var stream = EventStream()
    stream.config("vm.conf", [1])
    stream.device(1, "d", diskSize)
    stream.device(2, "vmstate", 512)
    return stream
  }

  private static let declarations: [Fault] = [
    Fault("device 0") { $0.device(0, "x", 512) },
    Fault("device 255") { $0.device(255, "x", 512) },
    Fault("a device twice") { $0.device(1, "x", 512) },
    Fault("a name twice") { $0.device(3, "d", 512) },
    Fault("a device without a name") { $0.device(3, "", 512) },
    Fault("a name with NUL") { $0.device(3, "a\0b", 512) },
    Fault("a name of 65535 bytes") { $0.device(3, String(repeating: "n", count: 65535), 512) },
    Fault("no size") { $0.device(3, "x", 0) },
    Fault("size 513") { $0.device(3, "x", 513) },
    Fault("size over 256 TiB") { $0.device(3, "x", 1 << 48 + 512) },
    Fault("the largest size") { $0.put("D", 3, length: .max - 511, [0x78]) },
    Fault("a device with an offset") { $0.put("D", 3, at: 512, length: 512, [0x78]) },
    Fault("a config twice") { $0.config("vm.conf", [2]) },
    Fault("a config without NUL") { $0.put("C", 0, [0x61, 0x62]) },
    Fault("a config without a name") { $0.config("", [1]) },
    Fault("an empty config record") { $0.put("C") },
    Fault("a config of 65536 bytes") { $0.config("x", Image.zeros(65536)) },
    Fault("a config of a device") { $0.put("C", 1, [0x61, 0, 1]) },
    Fault("a config with a length") { $0.put("C", 0, length: 3, [0x61, 0, 1]) },
    Fault("256 configs") { stream in
      for number in 1..<256 { stream.config("c\(number)", []) }
    },
    Fault("old data before begin") { $0.old(1, at: 0, Image.zeros(512)) },
    Fault("a finish before begin") { $0.finish(1) },
    Fault("the end before begin") { $0.end() },
  ]

  @Test(arguments: declarations)
  private func `in the declarations`(fault: Fault) throws {
    var stream = Self.declared()
    fault.build(&stream)
    stream.begin()
    stream.old(1, at: 0, Image.full(diskSize, seed: 1))
    stream.state(2, Image.full(512, seed: 2))
    end(&stream)
    let outcome = try dir.refuse(stream.bytes, saying: fault.words)
    #expect(outcome.output.isEmpty, "the header has to wait for all declarations")
  }

  private static let records: [Fault] = [
    Fault("junk instead of a record") { $0.junk(Image.full(64, seed: 7)) },
    Fault("unknown type") { $0.put("Q", 1) },
    Fault("a type in lower case") { $0.put("o", 1, length: 512, Image.zeros(512)) },
    Fault("a flag where there is none") { $0.put("F", 1, flags: 1) },
    Fault("an unknown flag") { $0.put("Z", 1, length: 512, flags: 2) },
    Fault("the highest flag") { $0.put("Z", 1, length: 512, flags: 0x8000) },
    Fault("a sequence number left out") { $0.put("Z", 1, length: 512, sequence: 7) },
    Fault("a sequence number twice") { $0.put("Z", 1, length: 512, sequence: 5) },
    Fault("a device that was not declared") { $0.zeros(3, at: 0, 512) },
    Fault("device 0") { $0.zeros(0, at: 0, 512) },
    Fault("device 255") { $0.zeros(255, at: 0, 512) },
    Fault("beyond the end") { $0.zeros(1, at: diskSize, 512) },
    Fault("across the end") { $0.zeros(1, at: diskSize - 512, 1024) },
    Fault("data across the end") { $0.old(1, at: diskSize - 512, Image.zeros(1024)) },
    Fault("a range that overflows") { $0.put("Z", 1, at: .max - 511, length: 1024) },
    Fault("a length that overflows") { $0.put("Z", 1, at: 512, length: .max - 511) },
    Fault("an odd offset") { $0.zeros(1, at: 100, 512) },
    Fault("an odd length") { $0.zeros(1, at: 0, 100) },
    Fault("no length") { $0.zeros(1, at: 0, 0) },
    Fault("no data") { $0.old(1, at: 0, []) },
    Fault("less data than length") { $0.put("O", 1, length: 1024, Image.zeros(512)) },
    Fault("more data than length") { $0.put("O", 1, length: 512, Image.zeros(1024)) },
    Fault("zeros with data") { $0.put("Z", 1, length: 512, Image.zeros(512)) },
    Fault("a finish with data") { $0.put("F", 1, Image.zeros(512)) },
    Fault("a finish with an offset") { $0.put("F", 1, at: 512) },
    Fault("a payload over 16 MiB") { $0.put("O", 1, length: 16 << 20 + 1, size: 16 << 20 + 1) },
    Fault("a payload of 4 GiB") { $0.put("O", 1, length: 512, size: .max) },
    Fault("a reason of 4 GiB") { $0.put("X", size: .max) },
    Fault("state of a disk") { $0.state(1, Image.zeros(512)) },
    Fault("state with an odd length") { $0.state(2, [1, 2, 3]) },
    Fault("state with an offset") { $0.put("S", 2, at: 512, length: 512, Image.zeros(512)) },
    Fault("old data of the state") { $0.old(2, at: 0, Image.zeros(512)) },
    Fault("zeros of the state") { $0.zeros(2, at: 0, 512) },
    Fault("a write to the state") { $0.write(2, at: 0, 512) },
    Fault("a write to a device told by the stream") { $0.write(1, at: 0, 512) },
    Fault("begin twice") { $0.begin() },
    Fault("a device after begin") { $0.device(3, "x", 512) },
    Fault("a config after begin") { $0.config("x", [1]) },
    Fault("a finish of device 0") { $0.finish(0) },
    Fault("a device finished twice") { $0.finish(1) },
    Fault("old data after its finish") { stream in
      stream.finish(1)
      stream.old(1, at: 0, Image.zeros(512))
    },
    Fault("state after its finish") { stream in
      stream.finish(2)
      stream.state(2, Image.zeros(512))
    },
    Fault("the end before a finish") { $0.end() },
    Fault("abort", saying: "disk on fire") { $0.put("X", 0, Array("disk on fire".utf8)) },
    Fault("abort without a reason") { $0.put("X") },
    Fault("abort with a hostile reason", saying: "\\x1B") {
      $0.put("X", 0, Array("a\u{1b}[31mb\nc\r\u{7}\u{9b}31m".utf8) + [0xff, 0xfe, 0])
    },
    Fault("abort of a device") { $0.put("X", 1) },
  ]

  @Test(arguments: records)
  private func `in the records`(fault: Fault) throws {
    var stream = Self.told()
    fault.build(&stream)
    end(&stream)
    try dir.refuse(stream.bytes, saying: fault.words)
  }

  private static let ends: [Fault] = [
    Fault("no end") { _ in },
    Fault("one too few counted") { $0.put("E", at: UInt64($0.starts.count - 1)) },
    Fault("one too many counted") { $0.put("E", at: UInt64($0.starts.count + 1)) },
    Fault("an end with a length") { $0.put("E", at: UInt64($0.starts.count), length: 512) },
    Fault("an end of a device") { $0.put("E", 1, at: UInt64($0.starts.count)) },
    Fault("a byte after the end") { stream in
      stream.end()
      stream.junk([0])
    },
    Fault("a record after the end") { stream in
      stream.end()
      stream.zeros(1, at: 0, 512)
    },
    Fault("an abort after the end") { stream in
      stream.end()
      stream.put("X")
    },
    Fault("two ends") { stream in
      stream.end()
      stream.end()
    },
    Fault("an abort instead of the end") { $0.put("X", 0, Array("no".utf8)) },
  ]

  @Test(arguments: ends)
  private func `at the end`(fault: Fault) throws {
    var stream = Self.told()
    stream.finish(2)
    stream.finish(1)
    fault.build(&stream)
    try dir.refuse(stream.bytes, saying: fault.words)
  }

  @Test(arguments: [0, 512, 65024, 65536, 100_352, 132_096])
  func `a gap is reported by its first byte`(gap: Int) throws {
    let image = Image.full(diskSize, seed: 1)
    var stream = Self.declared()
    stream.begin()
    if gap > 0 { stream.old(1, at: 0, image[..<gap]) }
    // Only the first gap is reported, not a second one after it.
    let rest = gap + 512
    if rest < diskSize - 512 { stream.old(1, at: rest, image[rest..<diskSize - 512]) }
    stream.state(2, Image.zeros(512))
    end(&stream)
    try dir.refuse(stream.bytes, saying: "byte \(gap) was not sent\n")
  }

  @Test(arguments: [0, 65536])
  func `missing state`(told: Int) throws {
    var stream = EventStream()
    stream.device(1, "vmstate", 65536 + 512)
    stream.begin()
    if told > 0 { stream.state(1, Image.zeros(told)) }
    stream.finish(1)
    stream.end()
    try dir.refuse(
      stream.bytes, saying: "vmstate is finished, but byte \(told) was not sent\n")
  }

  @Test(arguments: 0..<8)
  func `a stream that is truncated anywhere`(part: Int) throws {
    var whole = EventStream()
    whole.config("c", [1])
    whole.device(1, "d", 512)
    whole.begin()
    whole.old(1, at: 0, Image.full(512, seed: 1))
    whole.finish(1)
    whole.end()
    #expect(try dir.pack(whole).image("d") == Image.full(512, seed: 1))
    for count in stride(from: part, to: whole.bytes.count, by: 8) {
      let cut = Array(whole.bytes[..<count])
      let outcome = try dir.run(.pack, "--events", input: .pipe(cut))
        .fails(65, .pack, silent: false, "cut at \(count)")
      #expect(outcome.output.isEmpty == (count < whole.starts[3]), "cut at \(count)")
      #expect(outcome.output.isEmpty || ParsedArchive(outcome.output).faults != [])
    }
    for start in whole.starts { try dir.refuse(Array(whole.bytes[..<start])) }
  }

  @Test func `an empty stream, and other data`() throws {
    try dir.refuse([])
    try dir.refuse(Array("hello, world\n".utf8))
    try dir.refuse(Sample.smallBytes)
    try dir.refuse(Image.zeros(100_000))
  }

  @Test func `an old output is kept, with and without force`() throws {
    try dir.write("precious", to: "a.vma")
    let cut = Array(EventStream.of(Image.full(1024, seed: 1)).bytes.dropLast())
    try dir.run(.pack, "--events", "-o", "a.vma", input: .pipe(cut)).fails(73, .pack)
    try dir.run(.pack, "--events", "-f", "-o", "a.vma", input: .pipe(cut)).fails(65, .pack)
    try dir.expect("a.vma", holds: Array("precious".utf8))
    try dir.expectNames(["a.vma"])
  }
}
