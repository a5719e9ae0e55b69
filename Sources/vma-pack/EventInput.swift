// SPDX-License-Identifier: Apache-2.0

import ChangedBlocks
import System

/// The event stream, split into records that follow the grammar.
final class EventInput {
  private(set) var grammar = StreamGrammar()
  private let source: any EventBytes
  private let name: String
  private var window: Window
  /// Bytes that were read past the window.
  private var passed: UInt64 = 0
  private var position: UInt64 { window.position + passed }
  /// The number of bytes of the last payload that were not read yet.
  private(set) var payloadLeft = 0

  /// - Parameter name: of the stream, for messages.
  init(_ source: any EventBytes, name: String) throws {
    window = try Window(capacity: 1 << 18)
    self.source = source
    self.name = name
  }

  /// Whether data can be read without waiting, or will be within the timeout.
  func isReady(within milliseconds: Int32 = 0) throws -> Bool {
    try !window.isEmpty || source.isReady(within: milliseconds)
  }

  /// A failure at the last record.
  func failure(_ fault: StreamFault) -> Failure {
    Failure(
      .badData,
      "\(name): record \(max(grammar.recordCount, 1) - 1) before byte \(position): \(fault)")
  }

  /// The next record. Its payload must be read before the following record; the payload of a
  /// declaration is already read.
  func next() throws -> Record {
    precondition(payloadLeft == 0)
    guard try window.fill(StreamFormat.headerSize, from: source.read) else {
      throw failure(.torn)
    }
    do {
      let start = window.unread.lowerBound
      let record = try window.buffer.withBytes(start..<start + StreamFormat.headerSize) {
        (bytes) throws(StreamFault) in try Record(parsing: bytes)
      }
      window.drop(StreamFormat.headerSize)
      try grammar.accept(record)
      payloadLeft = record.payloadSize
      if [.config, .device, .abort].contains(record.kind) {
        let payload = try Buffer(capacity: record.payloadSize)
        try readPayload(into: payload, 0..<record.payloadSize)
        let bytes = payload.withBytes(0..<record.payloadSize) { bytes in
          bytes.indices.map { bytes[$0] }
        }
        try grammar.declare(record, bytes)
      }
      return record
    } catch let fault as StreamFault {
      throw failure(fault)
    }
  }

  /// Reads the next bytes of the payload into a buffer.
  func readPayload(into target: Buffer, _ range: Range<Int>) throws {
    precondition(range.count <= payloadLeft)
    var done = 0
    while done < range.count {
      let place = range.lowerBound + done..<range.upperBound
      var count = min(window.count, place.count)
      if count > 0 {
        let start = window.unread.lowerBound
        target.copy(from: window.buffer, start..<start + count, to: place.lowerBound)
        window.drop(count)
      } else {
        count = try source.read(into: target, place)
        if count == 0 { throw failure(.torn) }
        passed += UInt64(count)
      }
      done += count
    }
    payloadLeft -= range.count
  }

  /// Reads the next bytes of the payload and drops them.
  func skipPayload(_ count: Int, scratch: Buffer) throws {
    var rest = count
    while rest > 0 {
      let part = min(rest, scratch.capacity)
      try readPayload(into: scratch, 0..<part)
      rest -= part
    }
  }

  /// Checks that the stream is at its end.
  func checkEnd() throws {
    guard window.isEmpty, try source.isAtEnd() else { throw failure(.behindEnd) }
  }
}
