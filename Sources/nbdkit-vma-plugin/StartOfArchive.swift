// SPDX-License-Identifier: Apache-2.0

import Compression
import System

/// Reads an archive from its first byte on, for its header. It never starts a thread.
final class StartOfArchive: ByteSource, @unchecked Sendable {
  private let access: any RandomAccess
  private var position: UInt64 = 0

  init(_ access: any RandomAccess) { self.access = access }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    let count = try access.read(into: buffer, range, at: position)
    position += UInt64(count)
    return count
  }
}
