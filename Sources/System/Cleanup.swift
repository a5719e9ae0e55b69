// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// What must be cleaned up if a run ends early.
package enum Cleanup {
  private struct Actions: Sendable {
    var next = 0
    /// Whether the process ends: nothing may begin any more that would have to be cleaned up.
    var isOver = false
    var list: [Int: @Sendable () -> Void] = [:]
  }

  private static let actions = Mutex(Actions())
  private static let report = Mutex<@Sendable (String) -> Void>({ _ in })
  // Held while files get their names, so that a signal takes effect before all of that or after.
  private static let monitor = Monitor()

  /// Reports files that could not be removed or restored.
  ///
  /// - Parameter report: gets a line that names the file.
  package static func reportLeftovers(_ report: @escaping @Sendable (String) -> Void) {
    self.report.withLock { $0 = report }
  }

  package static func leaves(_ leftover: String) { report.withLock(\.self)(leftover) }

  /// - Returns: a number that `cancel` accepts.
  package static func add(_ action: @escaping @Sendable () -> Void) -> Int {
    actions.withLock {
      $0.next += 1
      $0.list[$0.next] = action
      return $0.next
    }
  }

  package static func cancel(_ number: Int) {
    actions.withLock { $0.list[number] = nil }
  }

  /// Runs `body` so that no signal ends the process in the middle of it.
  package static func uninterrupted<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try monitor.withLock { () throws(Failure) in
      while actions.withLock(\.isOver) { monitor.wait() }
      return try body()
    }
  }

  /// Runs all actions, the last first; the process must end afterwards.
  package static func run() {
    uninterrupted {
      let list = actions.withLock {
        $0.isOver = true
        return $0.list
      }
      for action in list.sorted(by: { $0.key > $1.key }) { action.value() }
    }
  }
}
