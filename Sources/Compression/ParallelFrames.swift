// SPDX-License-Identifier: Apache-2.0

import System

/// The content of frames of zstd, which several threads decode.
///
/// Frames with a checksum and at most 16 MiB of content are decoded in parallel, and delivered in order.
/// The first frame, larger ones and those of unknown size are streamed: an archive of a single frame
/// needs no thread. Damaged frames are streamed, too, so that all faults are those of `FramedSource`.
final class ParallelFrames: ByteSource, @unchecked Sendable {
  private let source: ReturnedBytes
  private let stream: FramedSource
  private let name: String
  private let threads: Int
  private var splitter: FrameSplitter?
  private let workers: DecodingWorkers
  private var state = State.streaming
  /// The buffer of the last rest.
  private var rest: Buffer?
  /// The earliest position in the stream where the splitter starts again.
  private var nextStart: UInt64 = 0

  private enum State {
    case streaming, splitting
    /// A part of the content of a job remains.
    case delivering(DecodingJob, Range<Int>)
    /// A damaged job is decoded again, up to its fault.
    case repeating(DecodingJob, FramedSource)
  }

  /// Bytes that are streamed before the splitter starts again, so that it does not copy the same bytes
  /// again and again.
  private static let leastStreamed: UInt64 = 1 << 20

  /// - Parameters:
  ///   - decoder: of zstd, or of skippable frames.
  ///   - name: of the input, for messages.
  ///   - threads: the maximum number of threads that decode.
  ///   - allowsPadding: whether up to 511 zeros may follow the data.
  init(
    _ source: any ByteSource, _ decoder: any FrameDecoder, name: String, threads: Int,
    allowsPadding: Bool = false
  ) throws(Failure) {
    self.source = ReturnedBytes(source)
    self.name = name
    self.threads = threads
    workers = DecodingWorkers(threads: threads)
    stream = try FramedSource(
      self.source, decoder, name: name, log: nil, allowsPadding: allowsPadding)
  }

  // If reading stops before the end, the threads and their memory must be released, too.
  deinit {
    splitter?.cancel()
    workers.finish()
  }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    guard !range.isEmpty else { return 0 }
    while true {
      switch state {
      case .streaming:
        if try startSplitter() { continue }
        if let count = try stream.advance(into: buffer, range) { return count }
      case .splitting: try takePart()
      case .delivering(let job, let rest):
        guard !rest.isEmpty else {
          end(job)
          continue
        }
        let part = rest.prefix(range.count)
        buffer.copy(from: job.output, part, to: range.lowerBound)
        state = .delivering(job, part.upperBound..<rest.upperBound)
        return part.count
      case .repeating(let job, let frames):
        let count = try frames.read(into: buffer, range)
        if count > 0 { return count }
        end(job)
      }
    }
  }

  private func end(_ job: DecodingJob) {
    splitter?.recycle(job)
    state = .splitting
  }

  /// Lets the splitter continue if workers can decode the next frame.
  private func startSplitter() throws -> Bool {
    guard stream.formatBetweenFrames == "zstd", stream.input.position >= nextStart,
      source.isEmpty, try isFrameForWorkers()
    else { return false }
    let splitter =
      try self.splitter
      ?? FrameSplitter(source, threads: threads, workers: workers, buffers: FrameBuffers())
    self.splitter = splitter
    if let rest { splitter.recycle(rest) }
    rest = nil
    try splitter.start(stream.input.buffer, stream.input.unread)
    stream.handOverInput()
    state = .splitting
    return true
  }

  private func isFrameForWorkers() throws -> Bool {
    var walker = ZstdFrameWalker()
    while true {
      let step = stream.input.buffer.withBytes(stream.input.unread) { walker.advance($0) }
      if let header = walker.header { return FrameSplitter.accepts(header) }
      switch step {
      case .end: return walker.isByPzstd
      // The stream needs these bytes next, too: no frame waits for others.
      case .needs(let count) where count <= ZstdFrameHeader.largestSize:
        guard try stream.fill(count) else { return false }
      case .needs, .nothing: return false
      }
    }
  }

  /// Waits for the next part of the splitter.
  private func takePart() throws {
    switch try splitter?.parts.receive() {
    case .job(let job):
      switch workers.result(of: job) {
      case .content(let size): state = .delivering(job, 0..<size)
      case .damaged:
        let bytes = ReturnedBytes(nil)
        bytes.giveBack(job.input, 0..<job.inputSize)
        state = .repeating(
          job, try FramedSource(bytes, try ZstdFrames(), name: name, log: nil))
      }
    case .rest(let buffer, let range, let failure):
      source.giveBack(buffer, range, failure: failure)
      rest = buffer
      nextStart = stream.input.position + Self.leastStreamed
      state = .streaming
    case nil: throw Failure(.general, "interrupted")
    }
  }
}
