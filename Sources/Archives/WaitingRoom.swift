// SPDX-License-Identifier: Apache-2.0

import Files
import System
import SystemPackage
import VMA

/// Data that arrived too early, in an unlinked temporary file that releases its space.
package final class WaitingRoom: @unchecked Sendable {
  let file: Descriptor
  private let monitor = Monitor()
  /// The size of the file, including freed ranges.
  private(set) var end: UInt64 = 0
  /// If the file system cannot free a part of a file: the parts to reuse.
  private var freed: FreeSpace?

  /// - Parameters:
  ///   - directory: of its file, see `Descriptor.temporary`.
  ///   - canPunch: whether to try to free parts of the file; otherwise they are reused.
  init(directory: String?, canPunch: Bool = true) throws {
    freed = canPunch ? nil : FreeSpace()
    file = try .temporary(in: directory)
  }

  /// Stores a run.
  ///
  /// - Parameters:
  ///   - run: its position is in `buffer`.
  /// - Returns: the run with its position in the file.
  func store(_ run: DataRun, from buffer: Buffer) throws -> DataRun {
    var stored = run
    stored.position = place(for: UInt64(run.length))
    let start = Int(run.position)
    try file.write(buffer, start..<start + run.length, at: stored.position)
    return stored
  }

  /// Loads a run and frees its space.
  func load(_ run: DataRun, into buffer: Buffer, at start: Int = 0) throws {
    let count = try file.read(into: buffer, start..<start + run.length, at: run.position)
    guard count == run.length else {
      throw Failure(.inputOutput, "\(file.name): was truncated while it was read")
    }
    free(run)
  }

  func free(_ run: DataRun) {
    let range = run.position..<run.position + UInt64(run.length)
    monitor.withLock {
      if freed == nil, file.punchHole(range) { return }
      if freed == nil { freed = FreeSpace() }
      freed?.insert(range)
    }
  }

  /// Space for this many bytes: a freed part that is large enough, or the end of the file.
  private func place(for length: UInt64) -> UInt64 {
    monitor.withLock {
      if let place = freed?.take(length) { return place }
      defer { end += length }
      return end
    }
  }
}
