// SPDX-License-Identifier: Apache-2.0

import System

/// Buffers for frames and their content, whose memory is limited.
final class FrameBuffers: @unchecked Sendable {
  /// Bytes of all buffers together, in use or not.
  private static let limit = 256 << 20
  /// Buffers are at least this large, so that most can be used again.
  private static let leastSize = 4 << 20

  private let monitor = Monitor()
  /// The last one was used last, and is likely to be in a processor cache.
  private var free: [Buffer] = []
  private var allocated = 0
  private var usedCount = 0
  private var isCancelled = false

  /// Waits for a buffer.
  ///
  /// - Parameters:
  ///   - size: the minimum size in bytes; all sizes that the caller needs at the same time must be
  ///     within the limit.
  ///   - held: buffers that the caller has now.
  /// - Returns: nil after `cancel`.
  /// - Throws: status 1 if there is not enough memory, even if all other buffers are recycled.
  func take(_ size: Int, whileHolding held: Int) throws(Failure) -> Buffer? {
    var capacity = Self.leastSize
    while capacity < size { capacity *= 2 }
    return try monitor.withLock { () throws(Failure) in
      while !isCancelled {
        if let index = free.lastIndex(where: { $0.capacity >= capacity }) {
          usedCount += 1
          return free.remove(at: index)
        }
        while allocated + capacity > Self.limit, !free.isEmpty {
          allocated -= free.removeFirst().capacity
        }
        if allocated + capacity <= Self.limit {
          do throws(Failure) {
            let buffer = try Buffer(capacity: capacity)
            allocated += capacity
            usedCount += 1
            return buffer
          } catch {
            // With fewer buffers, less is decoded at the same time.
            if !free.isEmpty {
              allocated -= free.removeFirst().capacity
              continue
            }
            if usedCount <= held { throw error }
          }
        }
        monitor.wait()
      }
      return nil
    }
  }

  func recycle(_ buffer: Buffer) {
    monitor.withLock {
      free.append(buffer)
      usedCount -= 1
      monitor.wakeAll()
    }
  }

  /// Releases the buffers that are not in use, and lets nobody wait any more.
  func cancel() {
    monitor.withLock {
      isCancelled = true
      free = []
      monitor.wakeAll()
    }
  }
}
