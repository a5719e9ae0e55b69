// SPDX-License-Identifier: Apache-2.0

import Archives
import ChangedBlocks
import Glibc
import Synchronization
import System
import TestSupport
import Testing
import VMA

@testable import PackTool

/// A guest, its disks, a producer and the pipes between it and the engine, all in one thread. When
/// the engine checks the stream, reads a disk (before, in the middle, after) or answers, the
/// simulation may advance by some steps that depend on a seed.
private final class World: EventBytes {
  final class Disk: CopySource {
    let id: UInt8
    /// The byte that each sector is filled with.
    var content: [UInt8]
    /// The content at `begin`, which the archive must have.
    var atBegin: [UInt8] = []
    let isAnnounced: Bool
    let isCopied: Bool
    var isComplete = false
    var isFinished = false
    weak var world: World?

    init(id: UInt8, content: [UInt8], isAnnounced: Bool, isCopied: Bool) {
      self.id = id
      self.content = content
      self.isAnnounced = isAnnounced
      self.isCopied = isCopied
    }

    func data(from offset: UInt64) -> Range<UInt64>? {
      world?.goOn()
      // As SEEK_DATA reports it: entire pages of zeros are holes.
      let start = Int(offset) / 512
      guard let sector = content[start...].firstIndex(where: { $0 != 0 }) else { return nil }
      let first = max(sector / 8 * 8, start)
      var end = first / 8 * 8
      while end < content.count,
        content[end..<min(end + 8, content.count)].contains(where: { $0 != 0 })
      {
        end += 8
      }
      return UInt64(first * 512)..<UInt64(min(end, content.count) * 512)
    }

    func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) {
      world?.goOn()
      let middle = range.count / 1024
      for sector in 0..<range.count / 512 {
        if sector == middle { world?.goOn() }
        let place = range.lowerBound + sector * 512
        let index = Int(offset) / 512 + sector
        let fill = index < content.count ? content[index] : 0
        buffer.withMutableBytes(place..<place + 512) { $0.update(repeating: fill) }
      }
      world?.goOn()
    }
  }

  /// A guest write that the producer holds until its record is answered.
  struct Held {
    var disk: Disk
    var range: Range<Int>
    var fill: UInt8
  }

  var random: SeededGenerator
  let disks: [Disk]
  private var pipe: [UInt8] = []
  /// The number of bytes read from the pipe.
  private var readCount = 0
  /// How often the engine waited for space, and checked the stream meanwhile.
  private(set) var waitCount = 0
  private var sequence: UInt32 = 0
  private var held: [UInt32: Held] = [:]
  /// Writes that were answered, but have not happened yet.
  private var released: [Held] = []
  private var writesLeft: Int
  private var isOver = false
  private(set) var answers: [Answer] = []
  private var hasBegun = false

  init(seed: UInt64, disks: [Disk], writes: Int) {
    random = SeededGenerator(seed: seed)
    self.disks = disks
    writesLeft = writes
    for disk in disks { disk.world = self }
    for disk in disks {
      send(
        .device, disk.id, length: UInt64(disk.content.count * 512), payload: [UInt8(64 + disk.id)])
    }
    send(.begin)
    for disk in disks { disk.atBegin = disk.content }
    hasBegun = true
  }

  private func send(
    _ kind: Record.Kind, _ device: UInt8 = 0, offset: UInt64 = 0, length: UInt64 = 0,
    payload: [UInt8] = []
  ) {
    let record = Record(
      kind, device: device, offset: offset, length: length, payloadSize: payload.count,
      sequence: sequence)
    pipe += record.bytes + payload
    sequence += 1
  }

  // MARK: Steps of the simulation

  func goOn() {
    guard hasBegun else { return }
    for _ in 0..<Int.random(in: 0...3, using: &random) { step() }
  }

  private func step() {
    switch Int.random(in: 0..<4, using: &random) {
    case 0, 1: guestWrites()
    case 2: doWrite()
    default: finishSomething()
    }
  }

  private func guestWrites() {
    guard writesLeft > 0, let disk = disks.randomElement(using: &random), !disk.isFinished else {
      return
    }
    writesLeft -= 1
    let first = Int.random(in: 0..<disk.content.count, using: &random)
    let count = [1, 7, 128, 300].randomElement(using: &random) ?? 1
    let range = first..<min(first + count, disk.content.count)
    let write = Held(disk: disk, range: range, fill: .random(in: 0...255, using: &random))
    if disk.isAnnounced, disk.isCopied, !disk.isComplete {
      // Old data can only be sent if no other write is in between.
      let overlaps = (Array(held.values) + released).contains {
        $0.disk === disk && $0.range.overlaps(range)
      }
      held[sequence] = write
      if !overlaps, Bool.random(using: &random) {
        tell(disk, range)
      } else {
        send(
          .write, disk.id, offset: UInt64(range.lowerBound * 512),
          length: UInt64(range.count * 512))
      }
      return
    }
    // Sent before the write; if a part was sent before, the new content does not matter.
    if !disk.isAnnounced || !disk.isCopied { tell(disk, range) }
    released.append(write)
    // Without answers the write happens immediately, so that the next record contains its data.
    doWrite(released.count - 1)
  }

  /// Sends the present content of some sectors.
  private func tell(_ disk: Disk, _ range: Range<Int>) {
    // Simple loops: generic ones are slow in debug builds.
    var isZero = true
    for sector in range where disk.content[sector] != 0 { isZero = false }
    let (offset, length) = (UInt64(range.lowerBound * 512), UInt64(range.count * 512))
    if isZero {
      send(.zeros, disk.id, offset: offset, length: length)
    } else {
      var payload: [UInt8] = []
      for sector in range { payload += [UInt8](repeating: disk.content[sector], count: 512) }
      send(.oldData, disk.id, offset: offset, length: length, payload: payload)
    }
  }

  private func doWrite(_ index: Int? = nil) {
    guard let index = index ?? released.indices.randomElement(using: &random) else { return }
    let write = released.remove(at: index)
    for place in write.range { write.disk.content[place] = write.fill }
  }

  private func finishSomething() {
    guard writesLeft == 0, held.isEmpty, released.isEmpty, !isOver else { return }
    if let disk = disks.filter({ !$0.isFinished }).randomElement(using: &random) {
      if !disk.isCopied { tellAll(disk) }
      disk.isFinished = true
      send(.finish, disk.id)
    } else {
      send(.end, offset: UInt64(sequence))
      isOver = true
    }
  }

  /// Sends an entire disk in pieces of any order; the first record of a sector still wins.
  private func tellAll(_ disk: Disk) {
    var pieces: [Range<Int>] = []
    var start = 0
    while start < disk.content.count {
      let count = [1, 3, 64, 128, 200].randomElement(using: &random) ?? 1
      pieces.append(start..<min(start + count, disk.content.count))
      start += count
    }
    for range in pieces.shuffled(using: &random) { tell(disk, range) }
  }

  func take(_ answer: Answer) {
    answers.append(answer)
    switch answer {
    case .safe(let sequence):
      if let write = held.removeValue(forKey: sequence) { released.append(write) }
    case .complete(let device):
      disks.first { $0.id == device }?.isComplete = true
    }
    goOn()
  }

  // MARK: The stream

  func isReady(within milliseconds: Int32) -> Bool {
    if milliseconds > 0 { waitCount += 1 }
    goOn()
    return !isPipeEmpty
  }

  private var isPipeEmpty: Bool { readCount == pipe.count }

  func read(into buffer: Buffer, _ range: Range<Int>) -> Int {
    goOn()
    if isPipeEmpty {
      pipe.removeAll()
      readCount = 0
    }
    while isPipeEmpty, !isOver { step() }
    let count = min(
      pipe.count - readCount, range.count, Int.random(in: 1...4000, using: &random))
    buffer.copy(Array(pipe[readCount..<readCount + count]), to: range.lowerBound)
    readCount += count
    return count
  }

  func isAtEnd() -> Bool { isPipeEmpty }
}

/// Reads the extents, like the thread that writes the archive.
private final class Collector: @unchecked Sendable {
  private let queue: ExtentQueue
  private let devices: [ArchiveHeader.Device]
  private var census: ClusterCensus
  private(set) var images: [UInt8: [UInt8]]
  /// Sectors that mix several writes.
  private(set) var tornCount = 0

  init(_ queue: ExtentQueue, _ devices: [ArchiveHeader.Device]) throws {
    self.queue = queue
    self.devices = devices
    census = try ClusterCensus(devices)
    images = Dictionary(
      uniqueKeysWithValues: devices.map {
        ($0.id, [UInt8](repeating: 0, count: Int($0.size / 512)))
      })
  }

  /// Reads all extents.
  ///
  /// - Parameter pause: is called before each.
  func run(pause: () -> Void) throws {
    while true {
      pause()
      guard let extent = try queue.next() else { break }
      try read(extent)
      queue.recycle(extent)
    }
    try census.checkComplete(devices)
  }

  private func read(_ extent: PackedExtent) throws {
    let header = extent.header
    try census.record(header)
    // The position of each stored block in the buffer.
    let blocks = extent.ranges.flatMap {
      Array(stride(from: $0.lowerBound, to: $0.upperBound, by: 512))
    }
    .dropFirst()
    header.forEachPiece { piece in
      guard let position = piece.position else { return }
      for sector in 0..<piece.length / 512 {
        let place = blocks[blocks.startIndex + position / 512 + sector]
        let index = Int(piece.offset) / 512 + sector
        let bytes = extent.buffer.withBytes(place..<place + 512) { [$0[0], $0[200], $0[511]] }
        guard index < images[piece.device]?.count ?? 0 else { continue }
        images[piece.device]?[index] = bytes[0]
        if Set(bytes).count != 1 { tornCount += 1 }
      }
    }
  }
}

@Suite struct CopyBeforeWriteTests {
  /// The resources of the engine.
  private struct Limits {
    /// Extents in memory. More than the archive has: the engine runs on the thread of the test,
    /// without a writer meanwhile, so that a seed always has the same result.
    var extentCount = 8
    var partialCount = 128
    var directory = "/tmp"
  }

  /// The content of each disk in the archive.
  ///
  /// - Parameter pause: is called on the writing thread before each extent; without it, all are
  ///   written at the end.
  private func pack(
    _ world: World, answers: Bool, _ limits: Limits = Limits(),
    pause: (@Sendable () -> Void)? = nil
  ) throws -> [UInt8: [UInt8]] {
    let input = try EventInput(world, name: "stream")
    while !input.grammar.hasBegun { _ = try input.next() }
    let devices = input.grammar.devices.map {
      ArchiveHeader.Device(id: $0.id, name: $0.name, size: $0.size)
    }
    let queue = try ExtentQueue(.sample(devices), count: limits.extentCount)
    let sources = Dictionary(
      uniqueKeysWithValues: world.disks.filter(\.isCopied).map { ($0.id, $0 as any CopySource) })
    let engine = try CopyBeforeWrite(
      input, sources: sources, queue: queue, answer: answers ? { world.take($0) } : nil,
      directory: limits.directory, partialCount: limits.partialCount)
    let collector = try Collector(queue, devices)
    let ending = Channel<Void>()
    if let pause {
      _ = try System.Thread { ending.finish(Result { try collector.run(pause: pause) }) }
    }
    // On this thread: the simulation supports only one.
    let result = Result { try engine.run() }
    try queue.fill { try result.get() }
    if pause == nil { try collector.run {} } else { _ = try ending.receive() }
    #expect(collector.tornCount == 0)
    return collector.images
  }

  private func disk(
    _ id: UInt8, sectors: Int, announced: Bool, copied: Bool, _ random: inout SeededGenerator
  ) -> World.Disk {
    var content = [UInt8](repeating: 0, count: sectors)
    for page in stride(from: 0, to: sectors, by: 8) where Bool.random(using: &random) {
      let fill = UInt8.random(in: 1...255, using: &random)
      for sector in page..<min(page + 8, sectors) { content[sector] = fill }
    }
    return World.Disk(id: id, content: content, isAnnounced: announced, isCopied: copied)
  }

  /// The central property: while guests write and the engine copies, the archive is a point in
  /// time.
  @Test(arguments: 0..<2000 as Range<UInt64>)
  func theArchiveShowsTheInstant(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let answers = seed % 2 == 0
    let disks = [
      disk(1, sectors: 128 * 3 + 9, announced: answers, copied: true, &random),
      disk(7, sectors: 128 * 2, announced: answers, copied: true, &random),
      disk(9, sectors: 128 + 1, announced: false, copied: false, &random),
    ]
    let world = World(seed: seed &* 31, disks: disks, writes: Int(seed % 30))
    let images = try pack(world, answers: answers)
    for disk in disks {
      #expect(images[disk.id] == disk.atBegin, "disk \(disk.id), seed \(seed)")
    }
    let completions = world.answers.filter {
      if case .complete = $0 { true } else { false }
    }
    #expect(completions.count == (answers ? 2 : 0))
  }

  /// The storage is slow, and more data waits than fits in memory.
  private func packSlowly(
    seed: UInt64, directory: String = "/tmp"
  ) throws -> (world: World, images: [UInt8: [UInt8]]) {
    var random = SeededGenerator(seed: seed)
    let answers = seed % 2 == 0
    let disks = [
      disk(1, sectors: 128 * 160 + 9, announced: answers, copied: true, &random),
      disk(7, sectors: 128 * 2, announced: answers, copied: true, &random),
      disk(9, sectors: 128 * 50 + 1, announced: false, copied: false, &random),
    ]
    let world = World(seed: seed &* 31, disks: disks, writes: 40 + Int(seed % 200))
    let limits = Limits(extentCount: 2, partialCount: 3, directory: directory)
    let pauses = Mutex(SeededGenerator(seed: ~seed))
    let images = try pack(world, answers: answers, limits) {
      usleep(pauses.withLock { UInt32.random(in: 0..<4000, using: &$0) })
    }
    return (world, images)
  }

  @Test(
    "D: the archive is a point in time even if the queue is full and partial clusters spill",
    arguments: 0..<40 * UInt64(Soak.factor))
  func theQueueIsFull(seed: UInt64) throws {
    let (world, images) = try packSlowly(seed: seed)
    for disk in world.disks {
      #expect(images[disk.id] == disk.atBegin, "disk \(disk.id), seed \(seed)")
    }
    // With answers, the disk is copied between records, but not while there is no space.
    if seed % 2 == 0 { #expect(world.waitCount > 0) }
  }

  /// The seeds of the previous test do spill.
  @Test("D: a spill file that cannot be written fails the run", arguments: 0..<4 as Range<UInt64>)
  func noSpill(seed: UInt64) {
    #expect(throws: Failure.self) { try packSlowly(seed: seed, directory: "/nonexistent") }
  }
}

extension ArchiveHeader {
  /// Of an archive of some disks.
  static func sample(_ devices: [Device]) -> ArchiveHeader {
    ArchiveHeader(uuid: UUID(1), creationTime: 0, configs: [], devices: devices)
  }
}
