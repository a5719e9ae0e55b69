// SPDX-License-Identifier: Apache-2.0

/// A frame of an index file with excerpts of a part of the content.
struct IndexExcerpt: Sendable, Equatable {
  /// From the start of its first excerpt to the end of its last one.
  var content: Range<UInt64>
  var frame: IndexFrame
}
