// SPDX-License-Identifier: Apache-2.0

import Testing

/// Streams with random faults, the same for the same seed.
private func mutated(_ stream: EventStream, _ random: inout Seeded) -> [UInt8] {
  var bytes = stream.bytes
  for _ in 0..<Int.random(in: 1...3, using: &random) {
    let starts = stream.starts.filter { $0 + 32 <= bytes.count }
    let record = starts.randomElement(using: &random) ?? 0
    let place = Int.random(in: 0..<bytes.count, using: &random)
    let count = [1, 4, 32, 512, 600].randomElement(using: &random) ?? 1
    let range = place..<min(place + count, bytes.count)
    let numbers: [UInt64] = [
      0, 1, 255, 511, 512, 513, 65536, 1 << 24, 1 << 31, 1 << 32, 1 << 48, .max,
    ]
    switch Int.random(in: 0..<8, using: &random) {
    case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 1: bytes.removeSubrange(range)
    case 2: bytes.insert(contentsOf: random.bytes(count), at: place)
    case 3: bytes.removeSubrange(place...)
    case 4: bytes.insert(contentsOf: Array(bytes[range]), at: place)
    case 5 where record + 32 <= bytes.count:
      // A field of a header, where faults have the most effect.
      let (field, width) =
        [(4, 1), (5, 1), (6, 2), (8, 8), (16, 8), (24, 4), (28, 4)].randomElement(using: &random)
        ?? (4, 1)
      let number = bigEndian(numbers.randomElement(using: &random) ?? 0).suffix(width)
      bytes.replaceSubrange(record + field..<record + field + width, with: number)
    case 6 where record + 32 <= bytes.count:
      let types = Array("CDBOZWSFEX".utf8)
      bytes[record + 4] = types.randomElement(using: &random) ?? 0
    default:
      bytes[min(record + Int.random(in: 0..<32, using: &random), bytes.count - 1)] &+= 1
    }
    if bytes.isEmpty { bytes = [0] }
  }
  return bytes
}

@Suite("No random fault in an event stream crashes vma-pack, or is accepted")
struct EventFuzzTests {
  let dir: Scratch

  init() throws { dir = try Scratch() }

  private static let disk = Image.mixed(140_288, seed: 21)
  private static let copied = Image.mixed(100_352, seed: 22)

  /// All types except `W`, which needs answers.
  private static let stream: EventStream = {
    var stream = EventStream()
    stream.config("vm.conf", Array("cores: 1\n".utf8))
    stream.device(1, "d", disk.count)
    stream.device(2, "vmstate", 66_048)
    stream.device(3, "copied", copied.count)
    stream.begin()
    stream.old(1, at: 70_144, disk[70_144...])
    stream.state(2, Image.full(66_048, seed: 23))
    stream.old(3, at: 512, copied[512..<1024], byGuest: true)
    stream.zeros(1, at: 1024, 512)
    stream.old(1, at: 0, disk[..<100_352], byGuest: true)
    stream.finish(2)
    stream.zeros(1, at: 4096, 65_536)
    stream.finish(3)
    stream.finish(1)
    stream.end()
    return stream
  }()

  @Test(arguments: 0..<12)
  func `thirty faulty streams`(group: UInt64) throws {
    try dir.write(Self.copied, to: "copied.raw")
    _ = try dir.pack(Self.stream, ["copied=copied.raw"])
    for number in 0..<30 {
      let seed = group * 30 + UInt64(number)
      var random = Seeded(seed)
      let bytes = mutated(Self.stream, &random)
      let options = number % 3 == 0 ? [] : ["copied=copied.raw"]
      let outcome = try dir.run(.pack, ["--events"] + options, input: .pipe(bytes))
      let test = try dir.run(.unpack, "-t", input: .pipe(outcome.output))
      let isSound = !outcome.output.isEmpty && test.ending == .exit(0)
      switch outcome.ending {
      case .exit(0):
        #expect(outcome.errors.isEmpty && isSound, "seed \(seed)")
      // A fault may remove the device of a source.
      case .exit(65), .exit(66):
        #expect(outcome.complaint(about: .pack) == nil, "seed \(seed): \(outcome.errors)")
        #expect(!isSound, "seed \(seed)")
      default:
        Issue.record("seed \(seed): \(outcome.ending), \(outcome.errors)")
      }
      try dir.expectNames(["copied.raw"])
    }
  }

  /// Announced writes and the other records that they need.
  private static let announced: EventStream = {
    var stream = EventStream()
    stream.device(3, "copied", copied.count)
    stream.begin()
    stream.write(3, at: 65024, 1024)
    stream.old(3, at: 1024, copied[1024..<1536], byGuest: true)
    stream.write(3, at: 0, copied.count)
    stream.zeros(3, at: 512, 512)
    stream.finish(3)
    stream.end()
    return stream
  }()

  @Test(arguments: 0..<4)
  func `thirty faulty streams that wait for answers`(group: UInt64) throws {
    try dir.write(Self.copied, to: "copied.raw")
    for number in 0..<30 {
      let seed = 1000 + group * 30 + UInt64(number)
      var random = Seeded(seed)
      try dir.write(mutated(Self.announced, &random), to: "events")
      let outcome = try dir.sh(
        """
        vma-pack --events --ack-fd 5 copied=copied.raw 5>/dev/null <events >a.vma || exit
        vma-unpack -t a.vma
        """)
      if outcome.ending != .exit(0) {
        #expect([.exit(65), .exit(66)].contains(outcome.ending), "seed \(seed)")
        #expect(outcome.complaint(about: .pack) == nil, "seed \(seed): \(outcome.errors)")
        try dir.run(.unpack, "-t", "a.vma").fails(65, .unpack, "seed \(seed)")
      }
    }
  }
}
