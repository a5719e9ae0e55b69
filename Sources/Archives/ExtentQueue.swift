// SPDX-License-Identifier: Apache-2.0

import System
package import VMA

/// Extents between the thread that fills them and the one that writes them: a fixed number, so that
/// filling waits for writing.
package final class ExtentQueue: @unchecked Sendable {
  private var builder: ArchiveBuilder
  private let free: Channel<PackedExtent>
  private let full = Channel<PackedExtent>()
  private var current: PackedExtent?

  /// - Parameters:
  ///   - builder: of the archive.
  ///   - count: extents in memory, about 3.7 MiB each.
  package init(_ builder: ArchiveBuilder, count: Int = 4) throws {
    self.builder = builder
    free = try Channel((0..<count).map { _ in try PackedExtent() }, isStack: true)
  }

  // MARK: The filling side

  /// Runs `body`, which creates extents, on a thread of its own, and ends the queue with its
  /// result. The last extent is only passed on if all succeeded: without it, no reader considers
  /// the archive complete.
  package func fill(_ body: @escaping @Sendable () throws -> Void) throws {
    _ = try Thread { [self] in
      do {
        try body()
        if let last = try building({ (builder) throws(FormatError) in try builder.finish() }) {
          try handOver(last)
        }
        full.finish()
      } catch {
        full.finish(.failure(error))
      }
    }
  }

  /// The number of clusters that still fit in the current extent.
  package var room: Int { builder.room }

  /// The extent being filled, with space for at least one cluster; waits if necessary.
  package func extentWithRoom() throws -> PackedExtent {
    if builder.room == 0, let extent = builder.nextExtent() { try handOver(extent) }
    return try currentExtent()
  }

  /// Whether there is space for a cluster without waiting, and an additional extent for urgent
  /// data.
  package var hasRoomToSpare: Bool {
    free.count > (current != nil && room > 0 ? 0 : 1)
  }

  /// Adds clusters that are all zeros to the current extent.
  package func add(zeros clusters: Range<UInt64>, device: UInt8) throws {
    try building { (builder) throws(FormatError) in
      for cluster in clusters { try builder.add(device: device, cluster: cluster, mask: 0) }
    }
  }

  /// Adds clusters whose data is in its place in the current extent. Their blocks of zeros are not
  /// stored.
  package func add(_ clusters: Range<UInt64>, device: UInt8) throws {
    let extent = try currentExtent()
    try building { (builder) throws(FormatError) in
      for cluster in clusters {
        let (position, mask) = extent.keepCluster()
        try builder.add(device: device, cluster: cluster, mask: mask, at: position)
      }
    }
  }

  private func currentExtent() throws -> PackedExtent {
    if let current { return current }
    guard let extent = try free.receive() else { throw Failure(.general, "interrupted") }
    extent.clear()
    current = extent
    return extent
  }

  private func handOver(_ extent: ArchiveBuilder.Extent) throws {
    let packed = try currentExtent()
    current = nil
    packed.finish(extent)
    full.send(packed)
  }

  /// The builder detects anything that would make the archive wrong.
  private func building<Result>(
    _ body: (inout ArchiveBuilder) throws(FormatError) -> Result
  ) throws(Failure) -> Result {
    do {
      return try body(&builder)
    } catch {
      throw Failure(.general, "the archive would be wrong: \(error)")
    }
  }

  // MARK: The writing side

  /// The next extent to be written; nil after the last.
  package func next() throws -> PackedExtent? { try full.receive() }

  package func recycle(_ extent: PackedExtent) { free.send(extent) }
}
