// SPDX-License-Identifier: Apache-2.0

import System

/// A compression method whose data consists of consecutive frames that can be decoded
/// independently: frames of zstd and lz4, members of gzip, streams of bzip2, blocks of xz and lzop.
protocol FrameDecoder: AnyObject {
  /// For messages.
  var format: String { get }
  /// Possible starts of a frame; after damage, they are used to search for the next one.
  var magics: [[UInt8]] { get }
  /// Whether the end of the input would be premature, between frames.
  var isOpen: Bool { get }

  /// Examines what starts here and, if it is a frame, prepares to decode it.
  ///
  /// - Parameter isSearching: whether the position is only a guess.
  func begin(_ bytes: Span<UInt8>, isSearching: Bool) throws(FrameFault) -> FrameStart

  /// Decodes a part of the frame; its result counts even if the frame turns out to be damaged.
  ///
  /// - Throws: status 1 if there is not enough memory.
  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) throws(Failure) -> FrameStep
}
