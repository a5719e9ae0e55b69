// SPDX-License-Identifier: Apache-2.0

import Glibc
import SystemPackage

/// A plain thread.
@safe package final class Thread: @unchecked Sendable {
  private final class Start {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  private var handle = pthread_t()
  /// Started, and neither joined nor detached.
  private var isJoinable = false

  deinit {
    // The system frees the stack of a thread once it is joined or detached.
    if isJoinable { pthread_detach(handle) }
  }

  /// Starts a thread.
  ///
  /// - Throws: status 1 if the system has none left for this process.
  package init(_ body: @escaping @Sendable () -> Void) throws(Failure) {
    let start = unsafe Unmanaged.passRetained(Start(body))
    // Each thread of ours takes no signal, SIGPIPE among them: those of the process are for the
    // thread of `Signals`, and a pipe that nobody reads is an error where it is written to.
    let mask = SignalMask.blockAll()
    defer { SignalMask.restore(mask) }
    do {
      try SystemCall.threadCreate.retry {
        errno = unsafe pthread_create(
          &handle, nil,
          { argument in
            guard let argument = unsafe argument else { return nil }
            unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().body()
            return nil
          }, start.toOpaque())
        return errno == 0 ? 0 : -1
      }
    } catch {
      unsafe start.release()
      throw Failure(.general, "cannot start a thread", error)
    }
    isJoinable = true
  }

  /// Waits until the thread has ended; once.
  package func join() {
    isJoinable = false
    pthread_join(handle, nil)
  }
}
