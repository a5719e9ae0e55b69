// SPDX-License-Identifier: Apache-2.0

import Disks
import System

/// Passes pieces of a disk, in ascending order, to a sink without gaps: zeros fill the space
/// between them, and data outside the window is skipped.
struct DiskCursor<Sink: DiskSink> {
  private(set) var sink: Sink
  /// The end of the data that the sink has received.
  private var position: UInt64
  private var window: Range<UInt64>

  init(_ sink: Sink, window: Range<UInt64>) {
    self.sink = sink
    self.window = window
    position = window.lowerBound
  }

  mutating func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    let start = max(offset, window.lowerBound)
    let end = min(offset + UInt64(range.count), window.upperBound)
    guard start < end else { return }
    if start > position { try sink.skip(zeros: start - position) }
    let first = range.lowerBound + Int(start - offset)
    try sink.write(buffer, first..<first + Int(end - start))
    position = end
  }

  /// Sets the end of a disk whose length was unknown before.
  mutating func end(at size: UInt64) {
    window = window.lowerBound..<max(size, position)
  }

  mutating func finish() throws {
    if position < window.upperBound { try sink.skip(zeros: window.upperBound - position) }
    position = window.upperBound
    try flush()
  }

  /// Makes the sink write its data: its buffers are about to be reused.
  mutating func flush() throws { try sink.flush() }
}
