// SPDX-License-Identifier: Apache-2.0

import System

/// Decoders, each of which one thread uses at a time.
final class Pool<Element>: @unchecked Sendable {
  private let monitor = Monitor()
  private var elements: [Element] = []

  /// Removes an element; nil if all are in use.
  func take() -> Element? { monitor.withLock { elements.popLast() } }

  func put(_ element: Element) { monitor.withLock { elements.append(element) } }
}
