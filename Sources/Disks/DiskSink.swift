// SPDX-License-Identifier: Apache-2.0

package import System

/// A destination that receives a disk sequentially.
package protocol DiskSink {
  mutating func write(_ buffer: Buffer, _ range: Range<Int>) throws
  mutating func skip(zeros count: UInt64) throws
  /// Writes all data so far: its buffers are about to be reused.
  mutating func flush() throws
}

extension DiskSink {
  package mutating func flush() {}
}
