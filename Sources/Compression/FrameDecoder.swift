// SPDX-License-Identifier: Apache-2.0

import System

/// A method of compression whose data comes in frames, one after another, each of which can be
/// decoded by itself: frames of zstd and lz4, members of gzip, streams of bzip2, blocks of xz and
/// lzop.
protocol FrameDecoder: AnyObject {
  /// For messages.
  var format: String { get }
  /// What a frame can start with; where the input is damaged, the next one is searched by it.
  var magics: [[UInt8]] { get }
  /// Whether the end of the input would come too early, between frames.
  var isOpen: Bool { get }

  /// Looks at what starts here and, if that is a frame, prepares to decode it.
  ///
  /// - Parameter isSearching: whether the place is only a guess.
  func begin(_ bytes: Span<UInt8>, isSearching: Bool) throws(FrameFault) -> FrameStart

  /// Decodes some of the frame; what it has done counts even if the frame turns out to be damaged.
  ///
  /// - Throws: status 1 where there is not enough memory.
  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) throws(Failure) -> FrameStep
}
