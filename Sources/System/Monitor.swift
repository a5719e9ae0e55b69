// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A lock with a condition to wait for.
@safe package final class Monitor: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  package init() {
    unsafe pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    // A change of the system time must not change how long a thread waits.
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(condition, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(condition)
    unsafe pthread_mutex_destroy(mutex)
    unsafe condition.deallocate()
    unsafe mutex.deallocate()
  }

  /// Calls `body` with the lock held.
  package func withLock<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    return try body()
  }

  /// Calls `body` without the lock, which must be held and is held again after it.
  package func withoutLock<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    unsafe pthread_mutex_unlock(mutex)
    defer { unsafe pthread_mutex_lock(mutex) }
    return try body()
  }

  /// Gives the lock away until `wakeAll` is called; the lock must be held.
  package func wait() { unsafe pthread_cond_wait(condition, mutex) }
  /// The same, until `uptime` (of `Host`) at the latest.
  package func wait(until uptime: Double) {
    let seconds = uptime.rounded(.down)
    var time = timespec(tv_sec: Int(seconds), tv_nsec: Int((uptime - seconds) * 1e9))
    unsafe pthread_cond_timedwait(condition, mutex, &time)
  }
  package func wakeAll() { unsafe pthread_cond_broadcast(condition) }
}
