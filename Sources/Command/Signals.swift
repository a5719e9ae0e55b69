// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import System

/// A thread that receives the signals of the process, and shows progress between them.
///
/// All signals that end a process by default end the run: it cleans up and dies of that signal.
/// That includes the signals of faults if another process sends them; a fault itself cannot be
/// handled. SIGUSR1 requests a status line. SIGXFSZ is ignored, so that the write fails (EFBIG).
/// Signals that the parent ignores (as nohup does) stay ignored.
package enum Signals {
  // Held while the process dies, so that nothing can be started that would have to be cleaned up.
  private static let taker = Mutex<(@Sendable (Int32) -> Void)?>(nil)

  /// Neither received nor blocked: they cannot be (SIGKILL, SIGSTOP), stop or continue the process,
  /// do nothing by default, or belong to the C library (32, 33).
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

  /// From now on, `body` receives the signals that end a run, and must not wait. It is for a tool
  /// that must finish something before it may die, by `die(of:)`.
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

  /// Ends the process by SIGPIPE, silently, if this thread wrote to a pipe without a reader: the
  /// effect of that signal, after cleaning up.
  static func dieOfBrokenPipe() {
    SignalMask.unblock(SIGPIPE)
  }
}
