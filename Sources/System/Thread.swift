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
  /// - Throws: status 1 if the system cannot start another thread.
  package init(_ body: @escaping @Sendable () -> Void) throws(Failure) {
    let start = unsafe Unmanaged.passRetained(Start(body))
    // Our threads receive no signals, including SIGPIPE: the thread of `Signals` receives those of
    // the process, and writing to a closed pipe is an error.
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

  /// Waits until the thread has ended; call it once.
  package func join() {
    isJoinable = false
    pthread_join(handle, nil)
  }
}
