// SPDX-License-Identifier: Apache-2.0

import DequeModule
import System

/// What the threads of a run tell the one that decides.
enum Message: Sendable {
  /// Something happened to some job of QEMU.
  case jobsChanged
  /// The guest was stopped, by whatever command.
  case guestStopped
  case connectionLost
  /// QEMU ends, and waits for its writes to be answered.
  case shutdown
  /// The queue is fuller, or emptier, than it should be.
  case queueIsFull, queueIsLow
  /// The stream is written, all of it.
  case written
  case outputFailed(Failure)
  /// QEMU does on its NBD connection what cannot be.
  case targetFailed(Failure)
  case signal(Int32)
}

/// The messages that wait to be read by one thread.
package final class Mailbox: @unchecked Sendable {
  private let monitor = Monitor()
  private var messages: Deque<Message> = []
  private var isEnding = false
  private var observer: (@Sendable (Message) -> Void)?

  package init() {}

  /// Shows each message to `body` before it is posted, in the thread that posts it: the one that
  /// reads them may be waiting for QEMU just then.
  func observe(_ body: @escaping @Sendable (Message) -> Void) {
    monitor.withLock { observer = body }
  }

  /// Whether the run ends, so that nothing is worth a long wait any more.
  var isHurried: Bool {
    monitor.withLock { isEnding }
  }

  func hurry() {
    monitor.withLock { isEnding = true }
  }

  func post(_ message: Message) {
    monitor.withLock { observer }?(message)
    monitor.withLock {
      // Events of QEMU come as often as it likes; once is enough to look.
      switch (messages.last, message) {
      case (.jobsChanged, .jobsChanged), (.guestStopped, .guestStopped): return
      default: break
      }
      messages.append(message)
      monitor.wakeAll()
    }
  }

  /// The next message, waiting for it; nil when time is over.
  func next(milliseconds: Int) -> Message? {
    let end = Host.uptime + Double(milliseconds) / 1000
    return monitor.withLock {
      while true {
        if let message = messages.popFirst() { return message }
        guard Host.uptime < end else { return nil }
        monitor.wait(until: end)
      }
    }
  }
}
