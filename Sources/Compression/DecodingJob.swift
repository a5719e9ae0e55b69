// SPDX-License-Identifier: Apache-2.0

import System

/// Complete frames in a row that are decoded together.
final class DecodingJob: @unchecked Sendable {
  enum Result {
    /// The size of the content in bytes.
    case content(Int)
    /// At least one of the frames is damaged.
    case damaged
  }

  /// The frames, from byte 0 on.
  let input: Buffer
  let inputSize: Int
  /// Large enough for the content of all frames.
  let output: Buffer
  /// Nil until it is decoded; `DecodingWorkers` guards it.
  var result: Result?

  init(_ input: Buffer, size: Int, output: Buffer) {
    self.input = input
    inputSize = size
    self.output = output
  }
}
