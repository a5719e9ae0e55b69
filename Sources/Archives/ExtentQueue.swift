// SPDX-License-Identifier: Apache-2.0

package import System
package import VMA

/// Extents between the thread that fills them and the one that writes them, in memory of a fixed
/// size, so that filling waits for writing.
package final class ExtentQueue: @unchecked Sendable {
  private var builder: ArchiveBuilder
  private let memory: ClusterMemory
  private let digest: RunningDigest?
  /// Clusters with data that may wait in open extents; more end the largest one.
  private let holdLimit: Int
  /// Clusters that remain for what is urgent, and for writing.
  private let reserve: Int
  private let free: Channel<PackedExtent>
  private let full = Channel<PackedExtent>()

  /// Without data, an extent is little more than its header.
  private static let extentCount = 32

  /// - Parameters:
  ///   - header: of the archive.
  ///   - writesDigests: whether the archive gets digests of its data.
  ///   - count: extents in memory, about 3.7 MiB each.
  package init(_ header: ArchiveHeader, writesDigests: Bool = true, count: Int = 4) throws {
    let clusterCount = max(count, 2) * VMAFormat.slotsPerExtent
    reserve = count > 2 ? 2 * VMAFormat.slotsPerExtent : VMAFormat.slotsPerExtent
    holdLimit = clusterCount - reserve
    let memory = try ClusterMemory(
      count: clusterCount, rest: Self.extentCount * VMAFormat.extentHeaderSize)
    self.memory = memory
    let digest = writesDigests ? try RunningDigest(memory.buffer) : nil
    self.digest = digest
    let dataDigest: ArchiveBuilder.DataDigest = { digest?.digest(of: $0) ?? 0 }
    do throws(FormatError) {
      builder = try ArchiveBuilder(
        header, digest: MD5.self, dataDigest: writesDigests ? dataDigest : nil)
    } catch {
      throw Failure(.badData, "\(error)")
    }
    let headers = clusterCount * VMAFormat.clusterSize
    free = Channel(
      (0..<Self.extentCount).map {
        PackedExtent(memory.buffer, headerStart: headers + $0 * VMAFormat.extentHeaderSize)
      }, isStack: true)
  }

  /// The bytes at the start of the archive.
  package var headerBytes: [UInt8] { builder.headerBytes }

  // MARK: The filling side

  /// Runs `body`, which creates extents, on a thread of its own, and ends the queue with its
  /// result. The last extent with clusters, and what follows it, are only passed on if all
  /// succeeded: without them, no reader considers the archive complete.
  package func fill(_ body: @escaping @Sendable () throws -> Void) throws {
    _ = try Thread { [self] in
      do {
        try body()
        try building { (builder) throws(FormatError) in try builder.finish() }
        try handOver()
        full.finish()
      } catch {
        full.finish(.failure(error))
      }
    }
  }

  /// Where the data of clusters is put before they are added.
  package var buffer: Buffer { memory.buffer }

  /// Space for the data of clusters; waits if necessary. All of it must be added.
  ///
  /// - Parameter count: the number of adjacent clusters that are wanted.
  /// - Returns: the bytes of at least one cluster, and at most `count`.
  package func place(for count: Int) -> Range<Int> { memory.take(count) }

  /// Whether there is space for some clusters without waiting, and additional space for urgent
  /// data.
  package var hasRoomToSpare: Bool { memory.available >= reserve }

  /// Adds clusters that are all zeros.
  ///
  /// - Parameter isEarly: whether they come out of order.
  package func add(zeros clusters: Range<UInt64>, device: UInt8, isEarly: Bool = false) throws {
    var next = clusters.lowerBound
    while next < clusters.upperBound {
      let end = min(next + UInt64(VMAFormat.slotsPerExtent), clusters.upperBound)
      try building { (builder) throws(FormatError) in
        try builder.add(zeros: next..<end, device: device, isEarly: isEarly)
      }
      try handOver()
      next = end
    }
  }

  /// Adds clusters whose data was put in a place. Their blocks of zeros are not
  /// stored.
  ///
  /// - Parameters:
  ///   - clusters: as many as fit in `place`.
  ///   - isEarly: whether they come out of order.
  package func add(
    _ clusters: Range<UInt64>, device: UInt8, at place: Range<Int>, isEarly: Bool = false
  ) throws {
    for (index, cluster) in clusters.enumerated() {
      let position = place.lowerBound + index * VMAFormat.clusterSize
      let mask = mask(at: position)
      if mask == 0 {
        memory.release([position])
      } else {
        digest?.add(mask, device: device, cluster: cluster, at: position)
      }
      try building { (builder) throws(FormatError) in
        try builder.add(
          device: device, cluster: cluster, mask: mask, at: position, isEarly: isEarly)
        if builder.heldCount > holdLimit { builder.flush() }
      }
      try handOver()
    }
  }

  /// The blocks of a cluster that are not all zeros.
  private func mask(at position: Int) -> UInt16 {
    var mask: UInt16 = 0
    for block in 0..<VMAFormat.blocksPerCluster {
      let start = position + block * VMAFormat.blockSize
      if !buffer.isZero(start..<start + VMAFormat.blockSize) { mask |= 1 << UInt16(block) }
    }
    return mask
  }

  /// Passes on all extents that are ready.
  private func handOver() throws {
    while let extent = builder.nextExtent() {
      guard let packed = try free.receive() else { throw Failure(.general, "interrupted") }
      packed.fill(extent)
      full.send(packed)
    }
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

  package func recycle(_ extent: PackedExtent) {
    memory.release(extent.clusterPositions)
    free.send(extent)
  }
}
