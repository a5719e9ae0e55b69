// SPDX-License-Identifier: Apache-2.0

import System

/// Threads that compress frames.
final class FrameWorkers: @unchecked Sendable {
  private let jobs = Channel<FrameJob>()
  private let monitor = Monitor()

  init(count: Int) throws {
    do {
      for _ in 0..<count {
        let encoder = try FrameEncoder()
        _ = try Thread { [jobs, monitor] in
          // The channel never ends with an error.
          while let job = try? jobs.receive() {
            let result = Result { () throws(Failure) in try encoder.compress(job) }
            job.releaseInput()
            monitor.withLock {
              job.result = result
              monitor.wakeAll()
            }
          }
        }
      }
    } catch {
      jobs.finish()
      throw error
    }
  }

  func finish() { jobs.finish() }

  func start(_ job: FrameJob) { jobs.send(job) }

  func isDone(_ job: FrameJob) -> Bool { monitor.withLock { job.result != nil } }

  /// Waits for a frame.
  func result(of job: FrameJob) throws(Failure) -> (frame: Buffer, size: Int) {
    let result = monitor.withLock {
      while true {
        if let result = job.result { return result }
        monitor.wait()
      }
    }
    guard let output = job.output else { throw Failure(.general, "zstd: a frame is missing") }
    return (output, try result.get())
  }
}
