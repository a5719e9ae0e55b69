// SPDX-License-Identifier: Apache-2.0

import System

/// Reads frames of zstd on a thread of its own, and passes them to workers, up to the first frame that
/// workers cannot decode.
final class FrameSplitter: @unchecked Sendable {
  enum Part: Sendable {
    case job(DecodingJob)
    /// Bytes from the start of a frame on were read in vain. All bytes before it were passed to workers.
    case rest(Buffer, Range<Int>, failure: (any Error)?)
  }

  /// What was found, in the order of the input.
  let parts = Channel<Part>()

  private let source: any ByteSource
  private let workers: DecodingWorkers
  private let buffers: FrameBuffers
  /// What was read already, for the thread to continue.
  private let starts = Channel<Batch>()
  /// One for each job that may be in progress.
  private let permits: Channel<Void>

  /// The maximum content of a frame in bytes.
  static let largestContent = 16 << 20
  /// The maximum size of a frame in bytes: the content, and what incompressible data adds.
  private static let largestFrame = largestContent + 1 << 17
  /// Small frames are decoded together up to this many bytes of content.
  private static let jobContent = 4 << 20
  /// The size of a read: of each job, less than that is copied.
  private static let readSize = 1 << 18

  init(
    _ source: any ByteSource, threads: Int, workers: DecodingWorkers, buffers: FrameBuffers
  ) throws(Failure) {
    self.source = source
    self.workers = workers
    self.buffers = buffers
    permits = Channel(Array(repeating: (), count: 2 * threads + 2))
    _ = try Thread { [self] in
      // The channel never ends with an error.
      while let start = try? starts.receive() { run(start) }
    }
  }

  /// Reads frames until `parts` has a rest; the source belongs to the thread until then.
  ///
  /// - Parameter range: bytes that were read already, from the start of a frame on.
  func start(_ bytes: Buffer, _ range: Range<Int>) throws(Failure) {
    var batch = Batch(buffer: try take(range.count, whileHolding: 0))
    batch.buffer.copy(from: bytes, range, to: 0)
    batch.filled = range.count
    starts.send(batch)
  }

  /// Returns a job, whose memory is reused for another one.
  func recycle(_ job: DecodingJob) {
    buffers.recycle(job.input)
    buffers.recycle(job.output)
    permits.send(())
  }

  /// Returns the buffer of a rest.
  func recycle(_ rest: Buffer) { buffers.recycle(rest) }

  /// Ends the thread, once it does not wait for the source any more.
  func cancel() {
    starts.finish()
    buffers.cancel()
    permits.finish()
  }

  /// Whether workers can decode a frame.
  ///
  /// The checksum must prove the content: decoding a frame at once does not detect all damage that
  /// decoding it by blocks does.
  ///
  /// - Parameter isShort: whether the content is known to be small.
  static func accepts(_ header: ZstdFrameHeader, isShort: Bool = false) -> Bool {
    guard header.hasChecksum, header.window <= DecompressionLimit.window else { return false }
    return header.contentSize.map { $0 <= UInt64(largestContent) } ?? isShort
  }

  // MARK: The thread

  /// Bytes that were read, from the start of a frame on.
  struct Batch: Sendable {
    var buffer: Buffer
    var filled = 0
    /// The end of the complete frames.
    var end = 0
    /// The content of the complete frames is at most this many bytes.
    var content = 0
    /// Of the frame after them.
    var walker = ZstdFrameWalker()
    /// Whether pzstd wrote that frame, which is short then.
    var isByPzstd = false
  }

  private func run(_ start: Batch) {
    var batch = start
    do {
      while try advance(&batch) {}
      parts.send(.rest(batch.buffer, 0..<batch.filled, failure: nil))
    } catch {
      parts.send(.rest(batch.buffer, 0..<batch.filled, failure: error))
    }
  }

  /// - Returns: false if workers cannot decode the frame, or the input ends.
  private func advance(_ batch: inout Batch) throws -> Bool {
    let step = batch.buffer.withBytes(batch.end..<batch.filled) { batch.walker.advance($0) }
    var content = batch.walker.contentBound
    if let header = batch.walker.header {
      guard Self.accepts(header, isShort: batch.isByPzstd) else { return false }
      content = header.contentSize.map { Int($0) } ?? content
    }
    guard content <= Self.largestContent, batch.walker.storedSize <= Self.largestFrame else {
      return false
    }
    switch step {
    case .nothing: return false
    case .needs(let count):
      return try count <= Self.largestFrame && fill(&batch, count)
    case .end:
      if batch.end > 0, batch.content + content > Self.jobContent { try pass(&batch) }
      batch.isByPzstd = batch.walker.isByPzstd
      batch.end += batch.walker.storedSize
      batch.content += content
      batch.walker = ZstdFrameWalker()
      return true
    }
  }

  /// Reads until this many bytes of a frame are available; false if the input ends before.
  private func fill(_ batch: inout Batch, _ count: Int) throws -> Bool {
    while batch.filled < batch.end + count {
      // The source may let the next frame wait; complete ones must not wait for it.
      if batch.end > 0 { try pass(&batch) }
      if batch.filled + Self.readSize > batch.buffer.capacity {
        let larger = try take(batch.filled + Self.readSize, whileHolding: 1)
        larger.copy(from: batch.buffer, 0..<batch.filled, to: 0)
        buffers.recycle(batch.buffer)
        batch.buffer = larger
      }
      let free = batch.filled..<batch.filled + Self.readSize
      let got = try source.read(into: batch.buffer, free)
      if got == 0 { return false }
      batch.filled += got
    }
    return true
  }

  /// Passes the complete frames to a worker, and goes on with another buffer.
  private func pass(_ batch: inout Batch) throws {
    _ = try permits.receive()
    let output = try take(batch.content, whileHolding: 1)
    let rest = batch.end..<batch.filled
    let next = try take(rest.count + Self.readSize, whileHolding: 2)
    next.copy(from: batch.buffer, rest, to: 0)
    let job = DecodingJob(batch.buffer, size: batch.end, output: output)
    try workers.start(job)
    parts.send(.job(job))
    batch.buffer = next
    batch.filled = rest.count
    batch.end = 0
    batch.content = 0
  }

  private func take(_ size: Int, whileHolding held: Int) throws(Failure) -> Buffer {
    guard let buffer = try buffers.take(size, whileHolding: held) else {
      throw Failure(.general, "interrupted")
    }
    return buffer
  }
}
