// SPDX-License-Identifier: Apache-2.0

import DequeModule
package import System

/// Frames of zstd that several threads compress, written in order and followed by a seek table.
///
/// Each frame has its content size and a checksum. The bytes depend on the frames and their levels, not
/// on the number of threads. Without frames in between that are cut elsewhere, the table has the format
/// of zstd's contrib/seekable_format: any zstd reader skips it.
package final class FrameWriter {
  private let output: Descriptor
  private let workers: FrameWorkers
  /// In the order of the output.
  private var inProgress: Deque<FrameJob> = []
  private var spare: [FrameJob] = []
  private let limit: Int
  private var table = SeekTable()
  /// The number of bytes written.
  package private(set) var byteCount: UInt64 = 0

  /// - Parameters:
  ///   - threads: at least 1.
  ///   - output: gets the frames; only the thread that calls these functions writes.
  package init(threads: Int, output: Descriptor) throws {
    self.output = output
    workers = try FrameWorkers(count: threads)
    // While a frame is written, each thread has one, and the next one waits. Every other frame is a
    // small one.
    limit = 2 * (threads + 2)
  }

  deinit { workers.finish() }

  /// Compresses ranges of a buffer into a frame.
  ///
  /// - Parameters:
  ///   - ranges: together at most 1 GiB.
  ///   - level: a level in `ZstdCompressor.levels`.
  ///   - whenRead: called once the buffer is not needed any more, on any thread.
  package func write(
    _ buffer: Buffer, _ ranges: [Range<Int>], level: Int,
    whenRead: @escaping @Sendable () -> Void = {}
  ) throws {
    while let first = inProgress.first, inProgress.count == limit || workers.isDone(first) {
      try writeFirst()
    }
    let job = spare.popLast() ?? FrameJob()
    job.prepare(buffer, ranges, level: level, whenRead: whenRead)
    inProgress.append(job)
    workers.start(job)
  }

  /// Waits until all frames are written.
  package func flush() throws {
    while !inProgress.isEmpty { try writeFirst() }
  }

  /// Writes what remains, and the seek table.
  package func finish() throws {
    try flush()
    let bytes = table.bytes
    try output.write(bytes)
    byteCount += UInt64(bytes.count)
  }

  private func writeFirst() throws {
    guard let job = inProgress.popFirst() else { return }
    let (frame, size) = try workers.result(of: job)
    try output.write(frame, 0..<size)
    byteCount += UInt64(size)
    let checksum = frame.withBytes(size - 4..<size) { $0.littleEndian(0..<4) }
    try table.append(
      compressedSize: size, contentSize: job.contentSize, checksum: UInt32(checksum))
    spare.append(job)
  }
}
