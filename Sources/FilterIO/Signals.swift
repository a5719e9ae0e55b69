// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Synchronization

/// A thread that takes the signals of the process, and shows progress between them.
public enum Signals {
  // Held while the process dies, so that nothing can be begun any more that would have to be
  // taken back.
  private static let taker = Mutex<(@Sendable (Int32) -> Void)?>(nil)

  /// Call it before any other thread is started.
  static func start(showingProgress: Bool) throws(Failure) {
    // What whoever started us ignores (nohup does) stays ignored.
    let ending = [SIGINT, SIGTERM, SIGHUP].filter { !SignalMask.isIgnored($0) }
    let taken = ending + [SIGUSR1]
    SignalMask.block(taken)
    _ = try Thread {
      while true {
        let signal = SignalMask.wait(for: taken, milliseconds: showingProgress ? 250 : nil)
        if let signal, ending.contains(signal) {
          taker.withLock { taker in
            guard let taker else { die(of: signal) }
            taker(signal)
          }
        } else if signal == SIGUSR1 {
          Console.error(Progress.current.line)
        } else if showingProgress {
          Console.show(status: Progress.current.line)
        }
      }
    }
  }

  /// From now on the signals that end a run are told to `body`, which must not wait: for a tool
  /// that has to bring something to an end before it may die, by `die(of:)`.
  public static func take(_ body: @escaping @Sendable (Int32) -> Void) {
    taker.withLock { $0 = body }
  }

  /// Takes everything back and ends the process by the signal.
  public static func die(of signal: Int32) -> Never {
    Cleanup.run()
    Console.clearStatus()
    SignalMask.die(of: signal)
  }
}

/// What has to be taken back when a run ends before it is done.
enum Cleanup {
  private struct Actions: Sendable {
    var next = 0
    var list: [Int: @Sendable () -> Void] = [:]
  }

  private static let actions = Mutex(Actions())
  // Held by whoever gives files their names, so that a signal comes before all of that or after.
  private static let monitor = Monitor()

  /// - Returns: a number to `cancel` the action by.
  static func add(_ action: @escaping @Sendable () -> Void) -> Int {
    actions.withLock {
      $0.next += 1
      $0.list[$0.next] = action
      return $0.next
    }
  }

  static func cancel(_ number: Int) {
    actions.withLock { $0.list[number] = nil }
  }

  /// Runs `body` so that no signal ends the process in the middle of it.
  static func uninterrupted<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    monitor.lock()
    defer { monitor.unlock() }
    return try body()
  }

  /// Takes everything back, the last first; the process must end after it.
  static func run() {
    monitor.lock()
    for action in actions.withLock(\.list).sorted(by: { $0.key > $1.key }) { action.value() }
  }
}
