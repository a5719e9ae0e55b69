// SPDX-License-Identifier: Apache-2.0

import System
package import VMA

/// Extents between the thread that makes them and the one that writes them: a fixed number, so that
/// making waits for writing.
package final class ExtentQueue: @unchecked Sendable {
  private let uuid: UUID
  private let free: Channel<PackedExtent>
  private let full = Channel<PackedExtent>()
  private var current: PackedExtent?

  /// - Parameters:
  ///   - uuid: of the archive.
  ///   - count: extents in memory, about 3.7 MiB each.
  package init(uuid: UUID, count: Int = 4) throws {
    self.uuid = uuid
    free = try Channel((0..<count).map { _ in try PackedExtent() }, isStack: true)
  }

  // MARK: The side that makes

  /// Runs `body`, which makes extents, on a thread of its own, and ends the queue with its result.
  /// The last extent is only handed over when all has gone well: without it an archive is never
  /// taken for a whole one.
  package func fill(_ body: @escaping @Sendable () throws -> Void) throws {
    _ = try Thread { [self] in
      do {
        try body()
        // An archive without any disk still has one extent.
        if current == nil { current = try emptyExtent() }
        handOver()
        full.finish()
      } catch {
        full.finish(.failure(error))
      }
    }
  }

  /// The extent in the making, with room for a cluster at least; waits until there is one.
  package func extentWithRoom() throws -> PackedExtent {
    if let current, current.room > 0 { return current }
    handOver()
    let extent = try emptyExtent()
    current = extent
    return extent
  }

  /// Whether there is room for a cluster without waiting, and a whole extent besides for what cannot
  /// wait.
  package var hasRoomToSpare: Bool {
    free.count > (current.map { $0.room > 0 } ?? false ? 0 : 1)
  }

  private func emptyExtent() throws -> PackedExtent {
    guard let extent = try free.receive() else { throw Failure(.general, "interrupted") }
    extent.clear()
    return extent
  }

  private func handOver() {
    guard let extent = current else { return }
    current = nil
    let header = ExtentHeader(slots: extent.slots)
    extent.buffer.withMutableBytes(0..<Format.extentHeaderSize) { bytes in
      header.serialize(into: &bytes, uuid: uuid, digest: MD5.self)
    }
    full.send(extent)
  }

  // MARK: The side that writes

  /// The next extent to be written; nil after the last.
  package func next() throws -> PackedExtent? { try full.receive() }

  package func recycle(_ extent: PackedExtent) { free.send(extent) }
}
