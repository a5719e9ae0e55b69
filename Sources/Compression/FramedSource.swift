// SPDX-License-Identifier: Apache-2.0

import System

/// The content of compressed frames.
///
/// Without a log, reading ends at the first fault. With a log, all data that can be decoded is
/// delivered, and after a frame with an unknown end, the next one is searched for.
final class FramedSource: ByteSource, @unchecked Sendable {
  private let decoder: any FrameDecoder
  private let source: any ByteSource
  private let name: String
  private let log: DamageLog?
  /// Whether up to 511 zeros may follow the data, as at the end of an export that is padded.
  private let allowsPadding: Bool
  /// What was read and not decoded.
  private(set) var input: Window
  private var state = State.between
  /// Bytes of input that the decoder needs.
  private var wanted = 0
  /// Whether anything that belongs to the format was found yet.
  private var hasBegun = false

  private enum State {
    case between, searching, ended
    /// Bytes of the format that contain no data.
    case passing(UInt64)
    case inFrame(isFirstStep: Bool)
  }

  /// The maximum input of one decoder call. After a fault, the search starts where the last one did.
  private static let pieceSize = 1 << 18
  /// Free bytes after the input, which the decoder may read in words.
  private static let slack = 16

  /// - Parameters:
  ///   - name: of the input, for messages.
  ///   - log: records faults; nil to throw the first one.
  ///   - allowsPadding: whether to accept up to 511 zeros after the data.
  init(
    _ source: any ByteSource, _ decoder: any FrameDecoder, name: String, log: DamageLog?,
    allowsPadding: Bool = false
  ) throws(Failure) {
    self.source = source
    self.decoder = decoder
    self.name = name
    self.log = log
    self.allowsPadding = allowsPadding
    input = try Window(capacity: 1 << 20, slack: Self.slack)
  }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    guard !range.isEmpty else { return 0 }
    while true {
      if let count = try advance(into: buffer, range) { return count }
    }
  }

  /// Continues by a small step.
  ///
  /// - Returns: the bytes read, 0 at the end; nil if there are none yet.
  func advance(into buffer: Buffer, _ range: Range<Int>) throws -> Int? {
    switch state {
    case .ended: return 0
    case .between: try beginFrame(isSearching: false)
    case .passing(let count): try pass(count)
    case .searching: try search()
    case .inFrame(let isFirstStep):
      let count = try decode(into: buffer, range, isFirstStep)
      if count > 0 { return count }
    }
    return nil
  }

  /// The format, once a frame of it was read to its end and another one may start here; nil elsewhere.
  var formatBetweenFrames: String? {
    if case .between = state, hasBegun { decoder.format } else { nil }
  }

  private func decode(
    into buffer: Buffer, _ range: Range<Int>, _ isFirstStep: Bool
  ) throws -> Int {
    let piece = input.unread.prefix(max(Self.pieceSize, wanted))
    let step = try decoder.decode(input.buffer, piece, into: buffer, range)
    log?.deliver(step.produced)
    switch step.end {
    case .sound:
      input.drop(step.consumed)
      log?.judge(isSound: true)
      state = .between
    case .damaged(let reason, let filler):
      input.drop(step.consumed)
      try fail(reason)
      log?.judge(isSound: false, filler: filler)
      state = .between
    case .broken(let reason):
      // Skips the start of the same frame.
      if isFirstStep { input.drop(1) }
      try fail(reason)
      endInGap()
      state = .searching
    case nil:
      input.drop(step.consumed)
      wanted = step.wanted
      state = .inFrame(isFirstStep: isFirstStep && step.consumed == 0)
      let isStuck = step.consumed == 0 && step.produced == 0
      let needed = wanted > 0 ? wanted : input.count + 1
      if isStuck, try !fill(needed) { try endTruncated() }
    }
    if step.end != nil { wanted = 0 }
    return step.produced
  }

  private func beginFrame(isSearching: Bool) throws {
    if input.isEmpty, try !fill(1) {
      if decoder.isOpen || !hasBegun { return try endTruncated() }
      state = .ended
      return
    }
    if try isPadding() {
      input.drop(input.count)
      state = .ended
      return
    }
    let start: FrameStart
    do throws(FrameFault) {
      start = try input.buffer.withBytes(input.unread) { (bytes) throws(FrameFault) in
        try decoder.begin(bytes, isSearching: isSearching)
      }
    } catch {
      return try reject(error.description, isSearching)
    }
    switch start {
    case .frame(let header):
      input.drop(header)
      hasBegun = true
      state = .inFrame(isFirstStep: true)
    case .passed(let count):
      hasBegun = true
      state = .passing(count)
    case .needs(let count):
      if try !fill(count) {
        try reject("the compressed data is truncated, or other data follows it", isSearching)
      }
    case .nothing:
      try reject(
        hasBegun ? "other data follows the compressed data" : "the header is damaged",
        isSearching)
    }
  }

  private func isPadding() throws -> Bool {
    guard allowsPadding, hasBegun, !decoder.isOpen, input.buffer.isZero(input.unread.prefix(1))
    else { return false }
    return try !fill(512) && input.buffer.isZero(input.unread)
  }

  /// No frame can start here; if the position was only a guess, this is not a fault.
  private func reject(_ reason: String, _ isSearching: Bool) throws {
    if !isSearching {
      try fail(reason)
      endInGap()
    }
    input.drop(min(1, input.count))
    state = .searching
  }

  /// Moves to the next position that may be the start of a frame.
  private func search() throws {
    let magics = decoder.magics
    if let place = magics.compactMap({ input.buffer.firstIndex(of: $0, in: input.unread) }).min() {
      input.drop(place - input.unread.lowerBound)
      return try beginFrame(isSearching: true)
    }
    // The start of a magic may be there already.
    let longest = magics.map(\.count).max() ?? 1
    input.drop(max(0, input.count - longest + 1))
    if try !fill(longest) { state = .ended }
  }

  private func pass(_ count: UInt64) throws {
    if count == 0 {
      state = .between
    } else if input.isEmpty, try !fill(1) {
      try endTruncated()
    } else {
      let part = Int(min(count, UInt64(input.count)))
      input.drop(part)
      state = .passing(count - UInt64(part))
    }
  }

  private func endTruncated() throws {
    try fail("the compressed data is truncated")
    endInGap()
    state = .ended
  }

  private func endInGap() {
    log?.judge(isSound: false)
    log?.addGap()
  }

  private func fail(_ reason: String) throws {
    let message = "\(decoder.format): \(reason)"
    guard let log else { throw Failure(.badData, "\(name): \(message)") }
    log.note(message)
  }

  /// Drops all of `input`, which others continue to decode; another frame follows it.
  func handOverInput() { input.drop(input.count) }

  /// Reads until this many bytes are available; false if the input ends before.
  func fill(_ count: Int) throws -> Bool {
    try input.fill(count, from: source.read)
  }
}
