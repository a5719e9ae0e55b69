// SPDX-License-Identifier: Apache-2.0

import System

/// Threads that decode frames of zstd.
final class DecodingWorkers: @unchecked Sendable {
  private let jobs = Channel<DecodingJob>()
  private let monitor = Monitor()
  private let limit: Int
  private var threadCount = 0
  /// Jobs without a result.
  private var openCount = 0

  /// - Parameter threads: the maximum number; each is started once there is work for it.
  init(threads: Int) { limit = threads }

  /// Ends the threads when all jobs are decoded.
  func finish() { jobs.finish() }

  /// Decodes a job on one of the threads.
  ///
  /// - Throws: status 1 if there is no thread for it.
  func start(_ job: DecodingJob) throws(Failure) {
    let needsThread = monitor.withLock {
      openCount += 1
      return openCount > threadCount && threadCount < limit
    }
    if needsThread {
      do {
        try startThread()
      } catch {
        // Fewer threads do the same work.
        if monitor.withLock({ threadCount == 0 }) { throw error }
      }
    }
    jobs.send(job)
  }

  /// Waits until a job is decoded.
  func result(of job: DecodingJob) -> DecodingJob.Result {
    monitor.withLock {
      while true {
        if let result = job.result { return result }
        monitor.wait()
      }
    }
  }

  private static func decode(
    _ job: DecodingJob, _ decoder: ZstdOneShotDecoder
  ) -> DecodingJob.Result {
    do throws(FrameFault) {
      return .content(
        try decoder.decode(
          job.input, 0..<job.inputSize, into: job.output, 0..<job.output.capacity))
    } catch {
      // The sequential decoder finds and reports the fault.
      return .damaged
    }
  }

  private func startThread() throws(Failure) {
    let decoder = try ZstdOneShotDecoder()
    _ = try Thread { [self] in
      // The channel never ends with an error.
      while let job = try? jobs.receive() {
        let result = Self.decode(job, decoder)
        monitor.withLock {
          job.result = result
          openCount -= 1
          monitor.wakeAll()
        }
      }
    }
    monitor.withLock { threadCount += 1 }
  }
}
