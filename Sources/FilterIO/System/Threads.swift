// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
internal import SystemPackage

/// A plain thread.
@safe public final class Thread: @unchecked Sendable {
  private final class Start {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  private var handle = pthread_t()

  /// Starts a thread.
  ///
  /// - Throws: status 1 if the system has none left for this process.
  public init(_ body: @escaping @Sendable () -> Void) throws(Failure) {
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
  }

  /// Waits until the thread has ended; once.
  public func join() {
    pthread_join(handle, nil)
  }
}

/// A lock with a condition to wait for.
@safe public final class Monitor: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  public init() {
    unsafe pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    // So that a limit to waiting is not moved when somebody sets the clock.
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

  public func lock() { unsafe pthread_mutex_lock(mutex) }
  public func unlock() { unsafe pthread_mutex_unlock(mutex) }
  /// Gives the lock away until `wakeAll` is called; the lock must be held.
  public func wait() { unsafe pthread_cond_wait(condition, mutex) }
  /// The same, until `uptime` (of `Host`) at the latest.
  public func wait(until uptime: Double) {
    let seconds = uptime.rounded(.down)
    var time = timespec(tv_sec: Int(seconds), tv_nsec: Int((uptime - seconds) * 1e9))
    unsafe pthread_cond_timedwait(condition, mutex, &time)
  }
  public func wakeAll() { unsafe pthread_cond_broadcast(condition) }
}

/// Signals, taken by a thread of their own instead of handlers.
public enum SignalMask {
  /// Blocks all signals in this thread.
  ///
  /// - Returns: the mask before, for `restore`.
  static func blockAll() -> sigset_t {
    var (all, before) = (sigset_t(), sigset_t())
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
    return before
  }

  static func restore(_ mask: sigset_t) {
    var mask = mask
    unsafe pthread_sigmask(SIG_SETMASK, &mask, nil)
  }

  /// Blocks the signals in this thread and all it starts from now on.
  public static func block(_ signals: [Int32]) {
    unsafe with(signals) { unsafe _ = pthread_sigmask(SIG_BLOCK, $0, nil) }
  }

  /// Unblocks a signal in this thread; if it is pending, it takes effect.
  static func unblock(_ signal: Int32) {
    unsafe with([signal]) { unsafe _ = pthread_sigmask(SIG_UNBLOCK, $0, nil) }
  }

  /// Ignores a signal in the whole process.
  public static func ignore(_ signal: Int32) {
    _ = Glibc.signal(signal, SIG_IGN)
  }

  /// The highest number of a signal.
  static let last: Int32 = 64

  /// Whether the process was started with the signal ignored.
  static func isIgnored(_ signal: Int32) -> Bool { linux_is_ignored(signal) != 0 }

  /// Makes writing to a closed pipe an error in this thread, and not the end of the process.
  public static func ignoreBrokenPipes() {
    block([SIGPIPE])
  }

  /// The same in all threads, those that run already too.
  public static func ignoreBrokenPipesEverywhere() {
    ignore(SIGPIPE)
  }

  /// Waits for one of the signals, which must be blocked.
  ///
  /// - Parameter milliseconds: the longest wait; nil for no limit.
  /// - Returns: the signal; nil when time is over.
  public static func wait(for signals: [Int32], milliseconds: Int?) -> Int32? {
    unsafe with(signals) { set in
      guard let milliseconds else {
        var signal: Int32 = 0
        return unsafe sigwait(set, &signal) == 0 ? signal : nil
      }
      var time = timespec(
        tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000)
      let signal = unsafe sigtimedwait(set, nil, &time)
      return signal > 0 ? signal : nil
    }
  }

  /// Ends the process by the signal, as if it had not been caught.
  public static func die(of signal: Int32) -> Never {
    _ = Glibc.signal(signal, SIG_DFL)
    unblock(signal)
    raise(signal)
    _exit(128 + signal)
  }

  @unsafe private static func with<Result>(
    _ signals: [Int32], _ body: (UnsafePointer<sigset_t>) -> Result
  ) -> Result {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in signals { unsafe sigaddset(&set, signal) }
    return unsafe body(&set)
  }
}
