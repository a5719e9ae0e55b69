// SPDX-License-Identifier: Apache-2.0

enum FrameEnd {
  /// All of the frame was decoded, and its checksum, if it has one, is right.
  case sound
  /// The frame is damaged but has ended; the last `filler` bytes of it are made up.
  case damaged(String, filler: UInt64 = 0)
  /// The frame is damaged, and where it ends is not known.
  case broken(String)
}
