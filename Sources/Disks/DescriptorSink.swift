// SPDX-License-Identifier: Apache-2.0

package import System

/// A descriptor that a disk is written to. Zeros become holes where that is sure to be right: in a
/// regular file, not opened for appending, from its end on.
package struct DescriptorSink: DiskSink {
  private let descriptor: Descriptor
  private let canSkip: Bool

  package init(_ descriptor: Descriptor) throws {
    self.descriptor = descriptor
    let status = try descriptor.status()
    canSkip =
      status.kind == .regular && !descriptor.isAppending
      && (descriptor.position ?? 0) >= status.size
  }

  package mutating func write(_ buffer: Buffer, _ range: Range<Int>) throws {
    try descriptor.write(buffer, range)
  }

  package mutating func skip(zeros count: UInt64) throws {
    if canSkip, let position = descriptor.position {
      // The size is set at once, so that what follows may fail and leave no wrong length unseen.
      let end = position + count
      try descriptor.truncate(to: end)
      try descriptor.seek(to: end)
      return
    }
    var rest = count
    while rest > 0 {
      let part = Int(min(rest, UInt64(Buffer.zeros.capacity)))
      try descriptor.write(.zeros, 0..<part)
      rest -= UInt64(part)
    }
  }
}
