// SPDX-License-Identifier: Apache-2.0

import DequeModule
import System

/// How long a guest write may have been held behind the request that one connection is serving.
///
/// A connection serves one request after the other. While one waits, those behind it wait with it,
/// unseen in the socket. So where the next request is there already when one that waited is done, it
/// is taken to have waited as long.
final class Hold: @unchecked Sendable {
  /// Requests that QEMU may have under way at a time. What is served after as many others have
  /// been was not there when the first of them began to wait.
  private static let depth = 128

  /// When the last requests were begun to be served; empty while none has waited.
  private var starts: Deque<Double> = []

  /// Whether the next request may have waited already.
  var isRunning: Bool { !starts.isEmpty }

  /// Takes note of the next request.
  ///
  /// - Parameter isPending: whether it is there already.
  func nextRequest(isPending: Bool) {
    guard isPending else { return starts.removeAll(keepingCapacity: true) }
    if starts.count == Self.depth { starts.removeFirst() }
    starts.append(Host.uptime)
  }

  /// The request that is served begins to wait, or goes on waiting.
  ///
  /// - Returns: since when it may have been held.
  func waits() -> Double {
    if let first = starts.first { return first }
    let now = Host.uptime
    starts.append(now)
    return now
  }
}
