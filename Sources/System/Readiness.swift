// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What a loop waits for.
package struct Readiness: Sendable {
  private var entries: [pollfd] = []

  package init() {}

  /// - Returns: a number that `isReady` accepts.
  @discardableResult
  package mutating func add(_ descriptor: Descriptor, writing: Bool = false) -> Int {
    let events = Int16(POLLIN) | (writing ? Int16(POLLOUT) : 0)
    entries.append(pollfd(fd: descriptor.raw, events: events, revents: 0))
    return entries.count - 1
  }

  /// Waits until one of them is ready.
  package mutating func wait(milliseconds: Int) {
    let count = unsafe poll(&entries, nfds_t(entries.count), Int32(clamping: milliseconds))
    // More entries than the limit of open files: the caller looks at them without waiting.
    if count < 0, errno == EINVAL { Host.sleep(milliseconds: 1) }
  }

  package func isReady(_ number: Int) -> Bool { entries[number].revents != 0 }
}
