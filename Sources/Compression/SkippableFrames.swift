// SPDX-License-Identifier: Apache-2.0

import System

/// Frames after a skippable one, which zstd and lz4 define alike: the first other frame shows which of
/// them it is.
final class SkippableFrames: FrameDecoder {
  private let candidates: [any FrameDecoder]
  private var decoder: (any FrameDecoder)?
  private let observer: (any BlockObserver)?

  /// - Parameter observer: is told of each block of zstd.
  init(observer: (any BlockObserver)? = nil) throws {
    self.observer = observer
    candidates = [try ZstdFrames(observer: observer), try LZ4Frames()]
  }

  var format: String { decoder?.format ?? "zstd or lz4" }
  var magics: [[UInt8]] { decoder?.magics ?? candidates.flatMap(\.magics) }
  var isOpen: Bool { decoder?.isOpen ?? false }

  /// Examines what starts here; nil if it is not a skippable frame.
  ///
  /// - Parameter bytes: at least 4.
  static func begin(_ bytes: Span<UInt8>) -> FrameStart? {
    guard bytes.littleEndian(0..<4) & ~0xf == 0x184d_2a50 else { return nil }
    guard bytes.count >= 8 else { return .needs(8) }
    return .passed(8 + bytes.littleEndian(4..<8))
  }

  func begin(_ bytes: Span<UInt8>, isSearching: Bool) throws(FrameFault) -> FrameStart {
    if let decoder { return try decoder.begin(bytes, isSearching: isSearching) }
    guard bytes.count >= 4 else { return .needs(4) }
    if let start = Self.begin(bytes) {
      if case .passed(let count) = start { observer?.pass(count) }
      return start
    }
    guard
      let candidate = candidates.first(where: {
        $0.magics.contains { magic in magic.indices.allSatisfy { bytes[$0] == magic[$0] } }
      })
    else { return .nothing }
    let start = try candidate.begin(bytes, isSearching: isSearching)
    switch start {
    case .frame, .passed: decoder = candidate
    case .needs, .nothing: break
    }
    return start
  }

  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) throws(Failure) -> FrameStep {
    try decoder?.decode(input, range, into: output, target) ?? FrameStep(end: .broken("no frame"))
  }
}
