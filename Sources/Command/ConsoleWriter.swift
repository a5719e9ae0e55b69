// SPDX-License-Identifier: Apache-2.0

import Glibc
import System

/// Writes to standard error from a thread of its own.
final class ConsoleWriter: @unchecked Sendable {
  /// Bytes that may wait; what comes beyond them is dropped.
  private static let limit = 1 << 16

  private let monitor = Monitor()
  private var pending: [UInt8] = []
  private var isWriting = false
  private var isMute = false
  private var thread: Thread?

  func start() throws(Failure) {
    monitor.lock()
    defer { monitor.unlock() }
    if thread == nil { thread = try Thread { [self] in run() } }
  }

  /// Whether all is written and standard error takes more.
  var isReady: Bool {
    monitor.lock()
    let isIdle = thread != nil && pending.isEmpty && !isWriting
    monitor.unlock()
    return isIdle && Descriptor.standardError.wait(for: POLLOUT, milliseconds: 0)
  }

  func mute() {
    monitor.lock()
    isMute = true
    monitor.unlock()
  }

  func post(_ text: String) {
    monitor.lock()
    guard !isMute else { return monitor.unlock() }
    guard thread != nil else {
      monitor.unlock()
      return writeDirectly(Array(text.utf8))
    }
    if pending.count < Self.limit { pending += Array(text.utf8) }
    monitor.wakeAll()
    monitor.unlock()
  }

  func drain(milliseconds: Int) {
    let limit = Host.uptime + Double(milliseconds) / 1000
    monitor.lock()
    while !pending.isEmpty || isWriting, Host.uptime < limit { monitor.wait(until: limit) }
    monitor.unlock()
  }

  private func run() {
    while true {
      monitor.lock()
      isWriting = false
      monitor.wakeAll()
      while pending.isEmpty { monitor.wait() }
      let bytes = pending
      pending = []
      isWriting = true
      monitor.unlock()
      // Nobody is left to tell when standard error fails.
      try? Descriptor.standardError.write(bytes)
    }
  }

  /// Before the thread runs, or where there is none: as much as is taken within a second.
  private func writeDirectly(_ bytes: [UInt8]) {
    SignalMask.ignoreBrokenPipes()
    var rest = bytes[...]
    // A pipe that is ready takes as much as this at once.
    while !rest.isEmpty, Descriptor.standardError.wait(for: POLLOUT, milliseconds: 1000) {
      do { try Descriptor.standardError.write(Array(rest.prefix(4096))) } catch { return }
      rest = rest.dropFirst(4096)
    }
  }
}
