// SPDX-License-Identifier: Apache-2.0

import Disks
import System

/// Hands pieces of a disk, which come in ascending order, to a sink without any gap: what lies
/// between them is zeros, what lies outside of the window is left out.
struct DiskCursor<Sink: DiskSink> {
  private(set) var sink: Sink
  /// Bytes of the disk up to which the sink has it.
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

  /// Sets the end of a disk whose length was not known before.
  mutating func end(at size: UInt64) {
    window = window.lowerBound..<max(size, position)
  }

  mutating func finish() throws {
    if position < window.upperBound { try sink.skip(zeros: window.upperBound - position) }
    position = window.upperBound
    try flush()
  }

  /// Has the sink write what it was given: its buffers are about to be used again.
  mutating func flush() throws { try sink.flush() }
}
