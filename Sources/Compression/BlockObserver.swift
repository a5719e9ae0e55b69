// SPDX-License-Identifier: Apache-2.0

import System

/// Is told how a decoder passes through zstd frames without a fault, so that it can add up where each
/// block is, in the file and in the content.
protocol BlockObserver: AnyObject {
  /// Bytes between blocks: skippable frames and checksums.
  func pass(_ count: UInt64)
  /// A frame starts here.
  ///
  /// - Parameters:
  ///   - header: the bytes of its header.
  ///   - window: bytes.
  func beginFrame(header: Int, window: UInt64)
  /// A block, with its header of 3 bytes. All its content is delivered before it ends.
  func beginBlock(_ input: Buffer, _ range: Range<Int>, isLast: Bool)
  func deliver(_ output: Buffer, _ range: Range<Int>)
  func endBlock()
}
