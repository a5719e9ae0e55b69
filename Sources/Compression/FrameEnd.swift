// SPDX-License-Identifier: Apache-2.0

enum FrameEnd {
  /// The entire frame was decoded, and its checksum, if any, is correct.
  case sound
  /// The frame is damaged but has ended; its last `filler` bytes are filler.
  case damaged(String, filler: UInt64 = 0)
  /// The frame is damaged, and its end is unknown.
  case broken(String)
}
