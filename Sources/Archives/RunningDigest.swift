// SPDX-License-Identifier: Apache-2.0

import Compression
import System
import VMA

/// Digests of extents, calculated while their clusters are added: then the data is still in the
/// processor cache.
final class RunningDigest: @unchecked Sendable {
  private struct Group: Equatable {
    var device: UInt8
    var number: UInt64
  }

  private let buffer: Buffer
  private let running: XXH3
  private let complete: XXH3
  private var group: Group?
  /// The blocks of the group that were added, in their order.
  private var blocks: [Range<Int>] = []
  /// The last groups before it.
  private var finished: [(blocks: [Range<Int>], digest: UInt128)] = []
  /// Groups before the current one whose extents may not be written yet.
  private static let finishedCount = 4

  /// - Parameter buffer: contains all clusters.
  init(_ buffer: Buffer) throws {
    self.buffer = buffer
    running = try XXH3()
    complete = try XXH3()
  }

  /// Adds the blocks of a cluster.
  func add(_ mask: UInt16, device: UInt8, cluster: UInt64, at position: Int) {
    // Blocks are recognized by their positions: digests of what was there before are obsolete.
    let place = position..<position + VMAFormat.clusterSize
    finished.removeAll { $0.blocks.contains { $0.overlaps(place) } }
    let group = Group(device: device, number: cluster / UInt64(VMAFormat.slotsPerExtent))
    if group != self.group {
      finish()
      self.group = group
    }
    mask.forEachRun { run in
      let start = position + run.lowerBound * VMAFormat.blockSize
      let end = position + run.upperBound * VMAFormat.blockSize
      running.update(buffer, start..<end)
      if let last = blocks.last, last.upperBound == start {
        blocks[blocks.count - 1] = last.lowerBound..<end
      } else {
        blocks.append(start..<end)
      }
    }
  }

  private func finish() {
    guard !blocks.isEmpty else { return }
    if finished.count == Self.finishedCount { finished.removeFirst() }
    finished.append((blocks, running.value()))
    running.reset()
    blocks.removeAll(keepingCapacity: true)
  }

  /// The digest of an extent: that of a group, if nothing of it came out of order.
  func digest(of blocks: [Range<Int>]) -> UInt128 {
    if blocks == self.blocks { finish() }
    if let index = finished.lastIndex(where: { $0.blocks == blocks }) {
      return finished.remove(at: index).digest
    }
    return complete.digest(of: blocks, in: buffer)
  }
}
