// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// A stream of changed blocks, assembled byte by byte according to vma-events(5).
///
/// Nothing is checked, so that invalid streams can be created as easily as valid ones.
struct EventStream: Sendable {
  private(set) var bytes: [UInt8] = []
  /// Where each record starts.
  private(set) var starts: [Int] = []

  /// Adds a record.
  ///
  /// - Parameters:
  ///   - size: the size of the payload in the header, if it is not the true one.
  ///   - sequence: if it is not the number of records before.
  mutating func put(
    _ type: Character, _ device: UInt8 = 0, at offset: UInt64 = 0, length: UInt64 = 0,
    _ payload: [UInt8] = [], flags: UInt16 = 0, size: UInt32? = nil, sequence: UInt32? = nil
  ) {
    starts.append(bytes.count)
    bytes += Array("CBE1".utf8)
    bytes += [type.asciiValue ?? 0, device]
    bytes += bigEndian(flags) + bigEndian(offset) + bigEndian(length)
    bytes += bigEndian(size ?? UInt32(payload.count))
    bytes += bigEndian(sequence ?? UInt32(starts.count - 1)) + payload
  }

  mutating func config(_ name: String, _ content: [UInt8]) {
    put("C", Array(name.utf8) + [0] + content)
  }

  mutating func device(_ id: UInt8, _ name: String, _ size: Int) {
    put("D", id, length: UInt64(size), Array(name.utf8))
  }

  mutating func begin(at time: UInt64 = 1_700_000_000) { put("B", at: time) }

  mutating func old(
    _ device: UInt8, at offset: Int, _ data: some Collection<UInt8>, byGuest: Bool = false
  ) {
    put(
      "O", device, at: UInt64(offset), length: UInt64(data.count), Array(data),
      flags: byGuest ? 1 : 0)
  }

  mutating func zeros(_ device: UInt8, at offset: Int, _ count: Int, byGuest: Bool = false) {
    put("Z", device, at: UInt64(offset), length: UInt64(count), flags: byGuest ? 1 : 0)
  }

  mutating func write(_ device: UInt8, at offset: Int, _ count: Int) {
    put("W", device, at: UInt64(offset), length: UInt64(count), flags: 1)
  }

  mutating func state(_ device: UInt8, _ data: some Collection<UInt8>) {
    put("S", device, length: UInt64(data.count), Array(data))
  }

  mutating func finish(_ device: UInt8) { put("F", device) }

  mutating func end() { put("E", at: UInt64(starts.count)) }

  /// Adds bytes that are not a record.
  mutating func junk(_ junk: [UInt8]) { bytes += junk }

  /// Adds an entire disk in order, with at most a mebibyte in a record.
  mutating func whole(_ device: UInt8, _ image: [UInt8]) {
    for start in stride(from: 0, to: image.count, by: 1 << 20) {
      old(device, at: start, image[start..<min(start + 1 << 20, image.count)])
    }
    finish(device)
  }

  private mutating func put(_ type: Character, _ payload: [UInt8]) { put(type, 0, payload) }

  /// One disk in order.
  static func of(_ image: [UInt8], name: String = "d") -> EventStream {
    var stream = EventStream()
    stream.device(1, name, image.count)
    stream.begin()
    stream.whole(1, image)
    stream.end()
    return stream
  }
}

extension Scratch {
  /// Packs a valid stream.
  func pack(
    _ stream: EventStream, _ options: [String] = [], environment: [String: String] = [:],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> ParsedArchive {
    let outcome = try run(
      .pack, ["--events"] + options, input: .pipe(stream.bytes), environment: environment,
      sourceLocation: sourceLocation
    ).succeeds(sourceLocation: sourceLocation)
    let archive = ParsedArchive(outcome.output)
    #expect(archive.faults == [], sourceLocation: sourceLocation)
    return archive
  }

  /// Packs an invalid stream: 65, one line, no file, and nothing on standard output that could be
  /// accepted as an archive.
  @discardableResult
  func refuse(
    _ bytes: [UInt8], _ options: [String] = [], saying words: String = "",
    _ comment: String = "", sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let before = try names()
    try run(
      .pack, ["--events", "-o", "refused.vma"] + options, input: .pipe(bytes),
      sourceLocation: sourceLocation
    ).fails(65, .pack, comment, sourceLocation: sourceLocation)
    try expectNames(before, sourceLocation: sourceLocation)
    let outcome = try run(
      .pack, ["--events"] + options, input: .pipe(bytes), sourceLocation: sourceLocation
    ).fails(65, .pack, silent: false, comment, sourceLocation: sourceLocation)
    if !words.isEmpty {
      #expect(outcome.errors.contains(words), "\(comment)", sourceLocation: sourceLocation)
    }
    if !outcome.output.isEmpty {
      let test = try run(
        .unpack, "-t", input: .pipe(outcome.output), sourceLocation: sourceLocation)
      #expect(test.ending == .exit(65), "\(comment)", sourceLocation: sourceLocation)
    }
    return outcome
  }
}
