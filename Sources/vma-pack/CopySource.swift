// SPDX-License-Identifier: Apache-2.0

import Disks
import System

/// A disk that is copied while a guest may write to it.
protocol CopySource: AnyObject {
  /// The first range of data at or after `offset`, in bytes of the disk; nil if only a hole
  /// remains.
  func data(from offset: UInt64) throws -> Range<UInt64>?
  /// Reads bytes of the disk; after its end there are zeros.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws
}

extension DiskSource: CopySource {}
