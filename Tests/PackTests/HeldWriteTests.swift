// SPDX-License-Identifier: Apache-2.0

import Archives
import ChangedBlocks
import System
import Testing
import VMA

@testable import PackTool

/// A disk of data that logs all calls.
private final class LoggingSource: CopySource {
  var log: [String] = []
  let size: UInt64

  init(size: UInt64) { self.size = size }

  func data(from offset: UInt64) -> Range<UInt64>? {
    log.append("data \(offset >> 16)")
    return 0..<size
  }

  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) {
    log.append("read \(offset >> 16)+\(range.count >> 16)")
    buffer.withMutableBytes(range) { $0.update(repeating: 1) }
  }
}

/// A stream that is available from the start.
private final class RecordedEvents: EventBytes {
  private var bytes: [UInt8]

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  func isReady(within milliseconds: Int32) -> Bool { true }

  func read(into buffer: Buffer, _ range: Range<Int>) -> Int {
    // One record at a time, so that the disk is copied between them.
    let count = min(bytes.count, range.count, 32)
    buffer.copy(Array(bytes.prefix(count)), to: range.lowerBound)
    bytes.removeFirst(count)
    return count
  }

  func isAtEnd() -> Bool { bytes.isEmpty }
}

@Suite struct HeldWriteTests {
  @Test("A13: a held write only reads its own clusters, and nothing is queried twice")
  func onlyReads() throws {
    let size: UInt64 = 40 << 16
    var stream: [UInt8] = []
    var sequence: UInt32 = 0
    func send(
      _ kind: Record.Kind, _ device: UInt8, offset: UInt64 = 0, length: UInt64 = 0,
      payload: [UInt8] = []
    ) {
      stream +=
        Record(
          kind, device: device, offset: offset, length: length, payloadSize: payload.count,
          sequence: sequence
        ).bytes + payload
      sequence += 1
    }
    send(.device, 1, length: size, payload: [65])
    send(.begin, 0)
    send(.write, 1, offset: 30 << 16, length: 2 << 16)
    send(.zeros, 1, offset: 35 << 16, length: 512)
    send(.write, 1, offset: 3 << 16, length: 512)
    send(.finish, 1)
    send(.end, 0, offset: UInt64(sequence))

    let source = LoggingSource(size: size)
    let input = try EventInput(RecordedEvents(stream), name: "stream")
    while !input.grammar.hasBegun { _ = try input.next() }
    let queue = try ExtentQueue(
      .sample([ArchiveHeader.Device(id: 1, name: [65], size: size)]))
    let engine = try CopyBeforeWrite(
      input, sources: [1: source], queue: queue, answer: { source.log.append("\($0)") },
      directory: "/tmp")
    try engine.run()
    try queue.fill {}
    #expect(
      source.log.prefix(7) == [
        "read 30+2", "safe(sequence: 2)",
        // The rest of a cluster of which a sector was sent.
        "read 35+0", "safe(sequence: 3)",
        "read 3+1", "safe(sequence: 4)",
        "data 0",
      ], "\(source.log)")
    #expect(source.log.count { $0.hasPrefix("data") } == 1, "\(source.log)")
  }
}
