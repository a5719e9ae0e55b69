// SPDX-License-Identifier: Apache-2.0

import Files
import System
import SystemPackage
import VMA

/// Data that came before its turn, in a temporary file without a name that gives space back.
package final class WaitingRoom: @unchecked Sendable {
  let file: Descriptor
  private let monitor = Monitor()
  /// Bytes of the file, freed parts among them.
  private(set) var end: UInt64 = 0
  /// Where the file system cannot free a part of a file: parts to use again.
  private var freed: FreeSpace?

  /// - Parameters:
  ///   - directory: of its file, see `Descriptor.temporary`.
  ///   - canPunch: whether to try freeing parts of the file; where not, they are used again.
  init(directory: String?, canPunch: Bool = true) throws {
    freed = canPunch ? nil : FreeSpace()
    file = try .temporary(in: directory)
  }

  /// Puts a run aside.
  ///
  /// - Parameters:
  ///   - run: whose position is in `buffer`.
  /// - Returns: the run with its position in the file.
  func store(_ run: DataRun, from buffer: Buffer) throws -> DataRun {
    var stored = run
    stored.position = place(for: UInt64(run.length))
    let start = Int(run.position)
    try file.write(buffer, start..<start + run.length, at: stored.position)
    return stored
  }

  /// Takes a run back.
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

  /// Space for so many bytes: a freed part that is large enough, or the end of the file.
  private func place(for length: UInt64) -> UInt64 {
    monitor.withLock {
      if let place = freed?.take(length) { return place }
      defer { end += length }
      return end
    }
  }
}
