// SPDX-License-Identifier: Apache-2.0

import System

/// How progress is shown: on a terminal one line that changes, in a log a line now and then.
///
/// Only used by the thread that takes signals.
final class ProgressDisplay: @unchecked Sendable {
  /// Milliseconds between two lines.
  let milliseconds: Int
  private let isTerminal: Bool
  private let isForced: Bool
  private var count = 0
  /// Those of our tools that read from pipes.
  private static let readers: Set = ["vma-pack", "vma-unpack", "vma-cat", "vma-to-tar"]
  private var isLeftToOthers = false

  /// Nil if no progress is to be shown.
  init?(_ mode: ProgressMode, isQuiet: Bool) {
    isTerminal = Descriptor.standardError.isTerminal
    isForced = mode == .always
    guard isForced || mode == .auto && !isQuiet && isTerminal else { return nil }
    milliseconds = isTerminal ? 250 : 10_000
  }

  func show() {
    guard isTerminal else { return Console.report(status: Progress.current.line()) }
    count += 1
    // In a pipeline, the last of our tools shows progress. Others may start late, so look again
    // after 1, 2, 4, … lines.
    if !isForced, count & (count - 1) == 0 {
      isLeftToOthers = Pipeline.hasLater(of: Self.readers)
    }
    if !isLeftToOthers { Console.show { Progress.current.line(width: $0) } }
  }
}
