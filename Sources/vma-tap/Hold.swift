// SPDX-License-Identifier: Apache-2.0

import DequeModule
import System

/// How long a guest write may have been held because of the requests on one connection.
///
/// A connection serves one request at a time. While one waits, later ones wait in the socket,
/// unnoticed. So if the next request is already there when a waiting one is done, it counts as
/// having waited as long.
final class Hold: @unchecked Sendable {
  /// The maximum number of requests that QEMU has in progress. If this many others were served
  /// since the first one began to wait, a request cannot have been there then.
  private static let depth = 128

  /// When serving the last requests began; empty while none has waited.
  private var starts: Deque<Double> = []

  /// Whether the next request may already have waited.
  var isRunning: Bool { !starts.isEmpty }

  /// Records the next request.
  ///
  /// - Parameter isPending: whether it is already there.
  func nextRequest(isPending: Bool) {
    guard isPending else { return starts.removeAll(keepingCapacity: true) }
    if starts.count == Self.depth { starts.removeFirst() }
    starts.append(Host.uptime)
  }

  /// The current request begins or continues to wait.
  ///
  /// - Returns: since when it may have been held.
  func waits() -> Double {
    if let first = starts.first { return first }
    let now = Host.uptime
    starts.append(now)
    return now
  }
}
