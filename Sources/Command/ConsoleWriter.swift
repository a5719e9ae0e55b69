// SPDX-License-Identifier: Apache-2.0

import Glibc
import System

/// Writes to standard error from a thread of its own.
final class ConsoleWriter: @unchecked Sendable {
  /// The maximum number of bytes that wait; further text is dropped.
  private static let limit = 1 << 16

  private let monitor = Monitor()
  private var pending: [UInt8] = []
  private var isWriting = false
  private var isMute = false
  private var thread: Thread?

  func start() throws(Failure) {
    try monitor.withLock { () throws(Failure) in
      if thread == nil { thread = try Thread { [self] in run() } }
    }
  }

  /// Whether all is written and standard error takes more.
  var isReady: Bool {
    let isIdle = monitor.withLock { thread != nil && pending.isEmpty && !isWriting }
    return isIdle && Descriptor.standardError.wait(for: POLLOUT, milliseconds: 0)
  }

  func mute() {
    monitor.withLock { isMute = true }
  }

  func post(_ text: String) {
    let isDone = monitor.withLock {
      if isMute { return true }
      if thread == nil { return false }
      if pending.count < Self.limit { pending += Array(text.utf8) }
      monitor.wakeAll()
      return true
    }
    if !isDone { writeDirectly(Array(text.utf8)) }
  }

  func drain(milliseconds: Int) {
    let limit = Host.uptime + Double(milliseconds) / 1000
    monitor.withLock {
      while !pending.isEmpty || isWriting, Host.uptime < limit { monitor.wait(until: limit) }
    }
  }

  private func run() {
    while true {
      let bytes = monitor.withLock {
        isWriting = false
        monitor.wakeAll()
        while pending.isEmpty { monitor.wait() }
        isWriting = true
        defer { pending = [] }
        return pending
      }
      // If standard error fails, this cannot be reported anywhere.
      try? Descriptor.standardError.write(bytes)
    }
  }

  /// Before the thread runs, or without one: writes as much as the reader accepts within a second.
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
