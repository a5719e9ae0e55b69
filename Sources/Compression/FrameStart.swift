// SPDX-License-Identifier: Apache-2.0

/// What starts at a place of the input.
enum FrameStart {
  /// A frame; its header has so many bytes.
  case frame(header: Int)
  /// Bytes that belong to the format and hold no data.
  case passed(UInt64)
  /// So many bytes are needed to tell.
  case needs(Int)
  /// Nothing that belongs to the format.
  case nothing
}
