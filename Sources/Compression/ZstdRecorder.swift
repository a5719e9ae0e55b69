// SPDX-License-Identifier: Apache-2.0

import System

/// Finds and proves points on a thread of its own while zstd data is decoded for another purpose.
final class ZstdRecorder: BlockObserver, @unchecked Sendable {
  private let finder: ZstdPointFinder
  private let full = Channel<ZstdBlock>()
  private let free: Channel<ZstdBlock>
  private var thread: Thread?
  /// Written by the thread, and read after its end.
  private var failure: (any Error)?

  // Of the decoder.
  private var position: UInt64 = 0
  private var frame: ZstdBlock.Frame?
  private var block: ZstdBlock?
  private var hasEnded = false

  /// Blocks in memory.
  private static let blockCount = 64

  /// - Parameters:
  ///   - name: of the file, for messages.
  ///   - spacing: the least distance of points in the content, in bytes.
  ///   - receive: receives each point and its history, on the thread.
  init(
    name: String, spacing: UInt64,
    receive: @escaping @Sendable (ZstdPoint, Buffer, Range<Int>) throws -> Void
  ) throws {
    finder = try ZstdPointFinder(name: name, spacing: spacing, receive: receive)
    free = Channel(try (0..<Self.blockCount).map { _ in try ZstdBlock() }, isStack: true)
    thread = try Thread { [self] in work() }
  }

  private func work() {
    do {
      while let block = try full.receive() {
        if failure == nil {
          do { try finder.add(block) } catch { failure = error }
        }
        free.send(block)
      }
      if failure == nil { try finder.finish() }
    } catch {
      failure = failure ?? error
    }
  }

  /// Waits until all points are proven. Call it once, after the end of the data.
  ///
  /// - Returns: what was found, for the user, and the numbers of points that are still to be proven.
  /// - Throws: status 1 if the data cannot be indexed; what `receive` threw.
  func finish() throws -> (summary: String, unproven: [Int]) {
    end()
    if let failure { throw failure }
    return (finder.summary, finder.unproven)
  }

  /// Stops the thread, after an error elsewhere.
  func cancel() { end() }

  private func end() {
    guard !hasEnded else { return }
    hasEnded = true
    full.finish()
    thread?.join()
  }

  // MARK: BlockObserver

  func pass(_ count: UInt64) { position &+= count }

  func beginFrame(header: Int, window: UInt64) {
    frame = ZstdBlock.Frame(position: position, window: window)
    position += UInt64(header)
  }

  func beginBlock(_ input: Buffer, _ range: Range<Int>, isLast: Bool) {
    guard let block = try? free.receive() else { return }
    block.stored.copy(from: input, range, to: 0)
    block.storedCount = range.count
    block.contentCount = 0
    block.position = position
    block.frame = frame
    frame = nil
    self.block = block
    position += UInt64(range.count)
  }

  func deliver(_ output: Buffer, _ range: Range<Int>) {
    guard let block, block.contentCount + range.count <= block.content.capacity else { return }
    block.content.copy(from: output, range, to: block.contentCount)
    block.contentCount += range.count
  }

  func endBlock() {
    guard let block else { return }
    self.block = nil
    full.send(block)
  }
}
