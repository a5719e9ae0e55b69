// SPDX-License-Identifier: Apache-2.0

import DequeModule
import System

/// A message from a thread of a run to the main thread.
enum Message: Sendable {
  /// The state of a QEMU job may have changed.
  case jobsChanged
  /// The guest was stopped, by any command.
  case guestStopped
  case connectionLost
  /// QEMU is exiting, and waits for its writes to be answered.
  case shutdown
  /// The queue has passed its high or low mark.
  case queueIsFull, queueIsLow
  /// The entire stream is written.
  case written
  case outputFailed(Failure)
  /// QEMU has sent something invalid on its NBD connection.
  case targetFailed(Failure)
  case signal(Int32)
}

/// Messages to one thread.
package final class Mailbox: @unchecked Sendable {
  private let monitor = Monitor()
  private var messages: Deque<Message> = []
  private var isEnding = false
  private var observer: (@Sendable (Message) -> Void)?

  package init() {}

  /// Passes each message to `body` before it is posted, on the thread that posts it: the receiving
  /// thread may be waiting for QEMU.
  func observe(_ body: @escaping @Sendable (Message) -> Void) {
    monitor.withLock { observer = body }
  }

  /// Whether the run is ending, so that it must not wait for long.
  var isHurried: Bool {
    monitor.withLock { isEnding }
  }

  func hurry() {
    monitor.withLock { isEnding = true }
  }

  func post(_ message: Message) {
    monitor.withLock { observer }?(message)
    monitor.withLock {
      // QEMU may send events very often; one check for all of them is enough.
      switch (messages.last, message) {
      case (.jobsChanged, .jobsChanged), (.guestStopped, .guestStopped): return
      default: break
      }
      messages.append(message)
      monitor.wakeAll()
    }
  }

  /// Waits for the next message; nil at the timeout.
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
