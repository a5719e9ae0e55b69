// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import System

/// A thread that takes the signals of the process, and shows progress between them.
///
/// All signals that end a process by default end the run: it cleans up and dies of that signal. So
/// do those of faults where somebody sends them; a fault itself cannot be taken. SIGUSR1 asks for a
/// status line. SIGXFSZ is ignored, so that the write fails (EFBIG). What the parent ignores (nohup
/// does) stays ignored.
package enum Signals {
  // Held while the process dies, so that nothing can be begun any more that would have to be
  // cleaned up.
  private static let taker = Mutex<(@Sendable (Int32) -> Void)?>(nil)

  /// Neither taken nor blocked: they cannot be (SIGKILL, SIGSTOP), stop the process and let it go
  /// on, do nothing by default, or are the C library's own (32, 33).
  private static let others: Set<Int32> = [
    SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGCHLD, SIGURG, SIGWINCH, SIGXFSZ, 32,
    33,
  ]

  /// Call it before any other thread is started.
  static func start(showing progress: ProgressDisplay?) throws(Failure) {
    SignalMask.ignore(SIGXFSZ)
    let taken = (1...SignalMask.last).filter {
      !others.contains($0) && !SignalMask.isIgnored($0)
    }
    SignalMask.block(taken)
    _ = try Thread {
      while true {
        let signal = SignalMask.wait(for: taken, milliseconds: progress?.milliseconds)
        if signal == SIGUSR1 {
          Console.report(status: Progress.current.line())
        } else if let signal {
          taker.withLock { taker in
            guard let taker else { die(of: signal) }
            taker(signal)
          }
        } else {
          progress?.show()
        }
      }
    }
  }

  /// Ends the run as SIGTERM does.
  package static func terminate() {
    taker.withLock { taker in
      guard let taker else { die(of: SIGTERM) }
      taker(SIGTERM)
    }
  }

  /// From now on the signals that end a run are told to `body`, which must not wait: for a tool
  /// that has to bring something to an end before it may die, by `die(of:)`.
  package static func take(_ body: @escaping @Sendable (Int32) -> Void) {
    taker.withLock { $0 = body }
  }

  /// Cleans up and ends the process by the signal.
  package static func die(of signal: Int32) -> Never {
    Cleanup.run()
    Console.clearStatus()
    Console.drain(milliseconds: 250)
    SignalMask.die(of: signal)
  }

  /// Ends the process by SIGPIPE, silently, if a write of this thread was to a pipe that nobody
  /// reads any more: what that signal would have done, after cleaning up.
  static func dieOfBrokenPipe() {
    SignalMask.unblock(SIGPIPE)
  }
}
