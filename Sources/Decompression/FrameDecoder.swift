// SPDX-License-Identifier: Apache-2.0

internal import FilterIO

/// How a decompressor is limited, in one place for all methods.
enum DecompressionLimit {
  /// The largest window, dictionary or block, in bytes: what `zstd -d` accepts without being asked.
  static let window: UInt64 = 128 << 20

  /// - Throws: what a frame asks for, where that is too much. Called before memory is allocated.
  static func check(_ size: UInt64, for what: String) throws(FrameFault) {
    if size > window {
      throw FrameFault(
        "a \(what) of \(ByteCount(size)) exceeds the limit of \(ByteCount(window)) "
          + "(decompress it with its own program)")
    }
  }
}

/// What is wrong with a frame.
struct FrameFault: Error {
  let description: String
  init(_ description: String) { self.description = description }
}

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

enum FrameEnd {
  /// All of the frame was decoded, and its checksum, if it has one, is right.
  case sound
  /// The frame is damaged but has ended; the last `filler` bytes of it are made up.
  case damaged(String, filler: UInt64 = 0)
  /// The frame is damaged, and where it ends is not known.
  case broken(String)
}

/// What one call has done.
struct FrameStep {
  var consumed = 0
  var produced = 0
  /// So many bytes of input are needed to go on; 0 where any will do.
  var wanted = 0
  var end: FrameEnd?
}

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
