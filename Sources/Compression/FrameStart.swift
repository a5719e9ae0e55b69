// SPDX-License-Identifier: Apache-2.0

/// What starts at a position of the input.
enum FrameStart {
  /// A frame with a header of this many bytes.
  case frame(header: Int)
  /// Bytes that belong to the format and contain no data.
  case passed(UInt64)
  /// This many bytes are needed to decide.
  case needs(Int)
  /// Nothing that belongs to the format.
  case nothing
}
