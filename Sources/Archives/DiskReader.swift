// SPDX-License-Identifier: Apache-2.0

import Compression
package import System
import VMA

/// The content of a disk in an archive, read at any offset by several threads at the same time.
///
/// The data is not compared with the digests of the archive.
package final class DiskReader: RandomAccess {
  /// A part of the disk.
  package struct Stretch: Equatable, Sendable {
    /// In bytes.
    package var range: Range<UInt64>
    /// Whether it reads as zeros. A part that the archive lacks does not.
    package var isZero: Bool
  }

  private let access: any RandomAccess
  /// Ascending.
  private let runs: [DataRun]
  private let device: ArchiveHeader.Device
  private let census: ClusterCensus
  private let isComplete: Bool
  package let size: UInt64

  init(
    access: any RandomAccess, runs: [DataRun], device: ArchiveHeader.Device, census: ClusterCensus
  ) {
    self.access = access
    self.runs = runs
    self.device = device
    self.census = census
    isComplete = census.isComplete(device)
    // `vmstate` has at least this size.
    size = max(census.length(of: device), device.size)
  }

  package var archiveName: String { access.name }
  package var name: String { "\(access.name): \(ArchiveHeader.list([device.name]))" }

  /// Reads bytes of the disk; fewer than requested only at its end.
  ///
  /// - Throws: `Failure` 65 if the archive lacks a part of them, or if they are damaged; 74 if
  ///   reading fails.
  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    guard offset < size else { return 0 }
    let window = offset..<offset + min(UInt64(range.count), size - offset)
    try requirePresent(window)
    func place(_ byte: UInt64) -> Int { range.lowerBound + Int(byte - offset) }
    // Stored bytes to be read next, and where they belong.
    var stored: Range<UInt64> = 0..<0
    var target = range.lowerBound
    func load() throws {
      guard !stored.isEmpty else { return }
      let count = try access.read(
        into: buffer, target..<target + stored.count, at: stored.lowerBound)
      guard count == stored.count else {
        throw Failure(.inputOutput, "\(access.name): was truncated while it was read")
      }
    }

    var position = offset
    try forEachPiece(in: window) { part, byte in
      if part.lowerBound == position, byte == stored.upperBound, !stored.isEmpty {
        stored = stored.lowerBound..<byte + UInt64(part.count)
      } else {
        try load()
        buffer.fillWithZeros(place(position)..<place(part.lowerBound))
        stored = byte..<byte + UInt64(part.count)
        target = place(part.lowerBound)
      }
      position = part.upperBound
      return true
    }
    try load()
    buffer.fillWithZeros(place(position)..<place(window.upperBound))
    return window.count
  }

  /// Where the disk is zero, in units of 4 KiB.
  ///
  /// - Parameters:
  ///   - range: bytes of the disk.
  ///   - limit: the maximum number of stretches, at least 1.
  /// - Returns: alternating stretches from the start of the range on, without gaps. Together they
  ///   may be shorter than the range.
  package func stretches(in range: Range<UInt64>, limit: Int) -> [Stretch] {
    let window = range.clamped(to: 0..<size)
    var found: [Stretch] = []
    func add(_ range: Range<UInt64>, isZero: Bool) {
      guard !range.isEmpty, found.count <= limit else { return }
      if let last = found.last, last.isZero == isZero {
        found[found.count - 1].range = last.range.lowerBound..<range.upperBound
      } else {
        found.append(Stretch(range: range, isZero: isZero))
      }
    }
    func addUnstored(_ range: Range<UInt64>) {
      guard !isComplete else { return add(range, isZero: true) }
      var position = range.lowerBound
      while position < range.upperBound, found.count <= limit {
        let isMissing = missing(at: position)
        let end = min(boundary(after: position, isMissing: isMissing), range.upperBound)
        add(position..<end, isZero: !isMissing)
        position = end
      }
    }

    var position = window.lowerBound
    forEachPiece(in: window) { part, _ in
      addUnstored(position..<part.lowerBound)
      add(part, isZero: false)
      position = part.upperBound
      return found.count <= limit
    }
    if found.count <= limit { addUnstored(position..<window.upperBound) }
    return Array(found.prefix(limit))
  }

  /// Calls `body` with each stored piece of a part of the disk, ascending, and its position in the
  /// archive, until it returns false.
  private func forEachPiece(
    in window: Range<UInt64>, _ body: (_ part: Range<UInt64>, _ byte: UInt64) throws -> Bool
  ) rethrows {
    let clusterSize = UInt64(VMAFormat.clusterSize)
    var continues = true
    for run in runs[firstRun(endingAfter: window.lowerBound)...] {
      guard continues, UInt64(run.cluster) * clusterSize < window.upperBound else { return }
      try run.forEachPiece { offset, position, length in
        let part = (offset..<offset + UInt64(length)).clamped(to: window)
        guard continues, !part.isEmpty else { return }
        continues = try body(part, run.position + UInt64(position) + (part.lowerBound - offset))
      }
    }
  }

  private func firstRun(endingAfter offset: UInt64) -> Int {
    runs.partitionIndex { $0.end * UInt64(VMAFormat.clusterSize) > offset }
  }

  // MARK: Missing clusters

  private func requirePresent(_ window: Range<UInt64>) throws {
    guard !isComplete, !census.has(window, of: device) else { return }
    let size = UInt64(VMAFormat.clusterSize)
    let cluster = census.next(seen: false, of: device, from: window.lowerBound / size) ?? 0
    throw Failure(
      .badData, "\(name): the archive is incomplete: it lacks the data at byte \(cluster * size)")
  }

  private func missing(at offset: UInt64) -> Bool {
    let cluster = offset / UInt64(VMAFormat.clusterSize)
    return census.next(seen: false, of: device, from: cluster, below: cluster + 1) != nil
  }

  /// Where a stretch of missing, or of present, clusters ends.
  private func boundary(after offset: UInt64, isMissing: Bool) -> UInt64 {
    let size = UInt64(VMAFormat.clusterSize)
    return census.next(seen: isMissing, of: device, from: offset / size).map { $0 * size } ?? .max
  }
}
