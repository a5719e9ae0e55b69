// SPDX-License-Identifier: Apache-2.0

import DequeModule

/// A queue between two threads, which ends with or without an error.
///
/// It has no bound of its own: what goes through is taken from a fixed set of buffers.
package final class Channel<Element: Sendable>: @unchecked Sendable {
  private let monitor = Monitor()
  private var elements: Deque<Element>
  private var end: Result<Void, any Error>?
  private let isStack: Bool

  /// - Parameters:
  ///   - elements: that can be received at once.
  ///   - isStack: gives the element that was sent last first: of buffers to be used again the one
  ///     that is most likely still in a processor's cache.
  package init(_ elements: [Element] = [], isStack: Bool = false) {
    self.elements = Deque(elements)
    self.isStack = isStack
  }

  /// Elements that can be received at once.
  package var count: Int {
    monitor.withLock { elements.count }
  }

  package func send(_ element: Element) {
    monitor.withLock {
      elements.append(element)
      monitor.wakeAll()
    }
  }

  /// No more is to come; what was sent before can still be received. Only the first end counts.
  package func finish(_ result: Result<Void, any Error> = .success(())) {
    monitor.withLock {
      if end == nil { end = result }
      monitor.wakeAll()
    }
  }

  /// The next element, waiting for it; nil at the end.
  ///
  /// - Throws: the error the channel was finished with, when all before it has been received.
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
