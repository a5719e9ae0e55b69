// SPDX-License-Identifier: Apache-2.0

import DequeModule

/// A queue between two threads, which ends with or without an error.
///
/// It has no limit of its own, because the buffers that pass through it are a fixed set.
package final class Channel<Element: Sendable>: @unchecked Sendable {
  private let monitor = Monitor()
  private var elements: Deque<Element>
  private var end: Result<Void, any Error>?
  private let isStack: Bool

  /// - Parameters:
  ///   - elements: initial elements, ready to be received.
  ///   - isStack: returns the element that was sent last first. Of buffers to be reused, that is
  ///     the one most likely to be in a processor cache.
  package init(_ elements: [Element] = [], isStack: Bool = false) {
    self.elements = Deque(elements)
    self.isStack = isStack
  }

  /// Elements ready to be received.
  package var count: Int {
    monitor.withLock { elements.count }
  }

  package func send(_ element: Element) {
    monitor.withLock {
      elements.append(element)
      monitor.wakeAll()
    }
  }

  /// Ends the queue. Elements that were sent before can still be received. Only the first end
  /// counts.
  package func finish(_ result: Result<Void, any Error> = .success(())) {
    monitor.withLock {
      if end == nil { end = result }
      monitor.wakeAll()
    }
  }

  /// Waits for the next element; nil at the end.
  ///
  /// - Throws: the error that the channel was finished with, once all elements are received.
  package func receive() throws -> Element? {
    try monitor.withLock {
      while true {
        if let element = isStack ? elements.popLast() : elements.popFirst() { return element }
        if let end {
          try end.get()
          return nil
        }
        monitor.wait()
      }
    }
  }
}
