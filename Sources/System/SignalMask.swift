// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// Signals, received by a dedicated thread instead of handlers.
package enum SignalMask {
  /// Blocks all signals in this thread.
  ///
  /// - Returns: the previous mask, for `restore`.
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

  /// Blocks the signals in this thread and in all threads that it starts from now on.
  package static func block(_ signals: [Int32]) {
    unsafe with(signals) { unsafe _ = pthread_sigmask(SIG_BLOCK, $0, nil) }
  }

  /// Unblocks a signal in this thread; if it is pending, it takes effect.
  package static func unblock(_ signal: Int32) {
    unsafe with([signal]) { unsafe _ = pthread_sigmask(SIG_UNBLOCK, $0, nil) }
  }

  /// Ignores a signal in the entire process.
  package static func ignore(_ signal: Int32) {
    _ = Glibc.signal(signal, SIG_IGN)
  }

  /// The highest number of a signal.
  package static let last: Int32 = 64

  /// Whether the process was started with the signal ignored.
  package static func isIgnored(_ signal: Int32) -> Bool { linux_is_ignored(signal) != 0 }

  /// Makes writing to a closed pipe an error in this thread instead of ending the process.
  package static func ignoreBrokenPipes() {
    block([SIGPIPE])
  }

  /// The same in all threads, including those that already run.
  package static func ignoreBrokenPipesEverywhere() {
    ignore(SIGPIPE)
  }

  /// Waits for one of the signals, which must be blocked.
  ///
  /// - Parameter milliseconds: the timeout; nil for no limit.
  /// - Returns: the signal; nil on timeout.
  package static func wait(for signals: [Int32], milliseconds: Int?) -> Int32? {
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

  /// Ends the process by the signal, as if it were not handled.
  package static func die(of signal: Int32) -> Never {
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
