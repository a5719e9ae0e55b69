// SPDX-License-Identifier: Apache-2.0

/// What a decompressor knows about the bytes that it has delivered, where it goes on behind damage
/// (`--salvage`).
///
/// Positions count the bytes delivered. They are judged in order, a frame at a time: a frame is
/// proven only by what stands at its end.
package final class DamageLog: @unchecked Sendable {
  package enum Verdict: Sendable {
    /// Proven by a checksum, or read without any fault where the format has none.
    case sound
    /// Delivered, but the frame is damaged.
    case doubtful
    /// Made up: the place is kept, the data is gone.
    case filler
    /// The frame has not ended yet.
    case open
  }

  private struct Part {
    var range: Range<UInt64>
    var isFiller: Bool
  }

  /// Bytes delivered, and how many of them are judged.
  package private(set) var delivered: UInt64 = 0
  private var judged: UInt64 = 0
  /// What is not sound, ascending; parts that nobody asks about any more are dropped.
  private var parts: [Part] = []
  /// Places at which an unknown number of bytes is missing, ascending.
  private var gaps: [UInt64] = []
  /// Places at which something was wrong.
  package private(set) var faultCount = 0
  /// The first of them, in words.
  package private(set) var firstFault: String?

  package init() {}

  package func note(_ fault: String) {
    faultCount += 1
    if firstFault == nil { firstFault = fault }
  }

  package func deliver(_ count: Int) { delivered += UInt64(count) }

  /// Judges all that was delivered since the last time.
  ///
  /// - Parameter filler: the last bytes of it, which are made up.
  package func judge(isSound: Bool, filler: UInt64 = 0) {
    let middle = delivered - min(filler, delivered - judged)
    if !isSound { append(judged..<middle, isFiller: false) }
    append(middle..<delivered, isFiller: true)
    judged = delivered
  }

  /// An unknown number of bytes is missing here.
  package func addGap() {
    if gaps.last != delivered { gaps.append(delivered) }
  }

  private func append(_ range: Range<UInt64>, isFiller: Bool) {
    guard !range.isEmpty else { return }
    if let last = parts.last, last.range.upperBound == range.lowerBound, last.isFiller == isFiller {
      parts[parts.count - 1].range = last.range.lowerBound..<range.upperBound
    } else {
      parts.append(Part(range: range, isFiller: isFiller))
    }
  }

  /// What is known about some bytes; the worst of it.
  package func verdict(on range: Range<UInt64>) -> Verdict {
    var isDoubtful = false
    for part in parts {
      if part.range.lowerBound >= range.upperBound { break }
      guard part.range.overlaps(range) else { continue }
      if part.isFiller { return .filler }
      isDoubtful = true
    }
    return isDoubtful ? .doubtful : range.upperBound > judged ? .open : .sound
  }

  /// The first place within a range at which bytes are missing.
  package func gap(in range: Range<UInt64>) -> UInt64? {
    gaps.first { $0 > range.lowerBound && $0 < range.upperBound }
  }

  /// The verdict on the frame that was open at `place`; nil while it still is.
  package func isSound(at place: UInt64) -> Bool? {
    guard place < judged else { return nil }
    return verdict(on: place..<place + 1) == .sound
  }

  /// Nobody will ask about bytes before this any more.
  package func forget(before place: UInt64) {
    if let first = parts.first, first.range.upperBound <= place {
      parts.removeFirst(parts.prefix { $0.range.upperBound <= place }.count)
    }
    if let first = gaps.first, first <= place {
      gaps.removeFirst(gaps.prefix { $0 <= place }.count)
    }
  }
}
