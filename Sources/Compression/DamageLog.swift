// SPDX-License-Identifier: Apache-2.0

/// What a decompressor knows about the bytes it delivered, if it continues after damage
/// (`--salvage`).
///
/// Positions count delivered bytes. They are judged in order, a frame at a time, because only the
/// end of a frame proves it.
package final class DamageLog: @unchecked Sendable {
  package enum Verdict: Sendable {
    /// Proven by a checksum, or read without a fault if the format has none.
    case sound
    /// Delivered, but the frame is damaged.
    case doubtful
    /// Filler: its position is kept, but its data is lost.
    case filler
    /// The frame has not ended yet.
    case open
  }

  private struct Part {
    var range: Range<UInt64>
    var isFiller: Bool
  }

  /// The number of bytes delivered, and how many of them are judged.
  package private(set) var delivered: UInt64 = 0
  private var judged: UInt64 = 0
  /// Ranges that are not intact, ascending; ranges that are no longer needed are dropped.
  private var parts: [Part] = []
  /// Positions where an unknown number of bytes is missing, ascending.
  private var gaps: [UInt64] = []
  /// The number of faults.
  package private(set) var faultCount = 0
  /// The text of the first fault.
  package private(set) var firstFault: String?

  package init() {}

  package func note(_ fault: String) {
    faultCount += 1
    if firstFault == nil { firstFault = fault }
  }

  package func deliver(_ count: Int) { delivered += UInt64(count) }

  /// Judges all bytes delivered since the last call.
  ///
  /// - Parameter filler: the number of filler bytes at the end.
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

  /// The worst state of any byte in a range.
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

  /// The first position in a range where bytes are missing.
  package func gap(in range: Range<UInt64>) -> UInt64? {
    gaps.first { $0 > range.lowerBound && $0 < range.upperBound }
  }

  /// The result for the frame that was open at `place`; nil while it is still open.
  package func isSound(at place: UInt64) -> Bool? {
    guard place < judged else { return nil }
    return verdict(on: place..<place + 1) == .sound
  }

  /// Bytes before this are no longer needed.
  package func forget(before place: UInt64) {
    if let first = parts.first, first.range.upperBound <= place {
      parts.removeFirst(parts.prefix { $0.range.upperBound <= place }.count)
    }
    if let first = gaps.first, first <= place {
      gaps.removeFirst(gaps.prefix { $0 <= place }.count)
    }
  }
}
