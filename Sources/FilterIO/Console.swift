// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Synchronization

/// What the tools say, all of it on standard error, each message one line with the tool's name.
///
/// A thread writes it. Standard error may be a terminal that is stopped or a pipe that nobody reads;
/// no other thread waits for it, and the end of the process waits only for a moment.
public enum Console {
  private struct State {
    var tool = ""
    var isQuiet = false
    var hasStatusLine = false
  }

  /// The most of one message that is shown, in bytes.
  private static let longestMessage = 16384

  private static let state = Mutex(State())
  private static let writer = ConsoleWriter()

  static func start(tool: String, isQuiet: Bool = false) {
    state.withLock {
      $0.tool = tool
      $0.isQuiet = isQuiet
    }
  }

  /// Starts the thread; without it messages are written directly.
  static func startWriter() throws(Failure) {
    try writer.start()
  }

  public static var tool: String { state.withLock(\.tool) }

  /// Says something that the user must hear.
  public static func error(_ message: String) {
    writer.post(line(message))
  }

  /// Says something that `--quiet` silences.
  public static func warn(_ message: String) {
    if !state.withLock(\.isQuiet) { error(message) }
  }

  /// Says how far the run is, unless standard error is not ready for it.
  static func report(status: String) {
    if writer.isReady { error(status) }
  }

  /// Shows a line that the next message or status line takes the place of, unless standard error is
  /// not ready for it.
  static func show(status: String) {
    guard writer.isReady else { return }
    let width = Descriptor.standardError.terminalWidth ?? 80
    let text = state.withLock {
      $0.hasStatusLine = true
      return "\r" + String("\($0.tool): \(status)".prefix(width - 1)) + "\u{1b}[K"
    }
    writer.post(text)
  }

  /// From now on nothing is said: standard error is a file that must not be written.
  static func mute() { writer.mute() }

  static func clearStatus() {
    let text = clearing()
    if !text.isEmpty { writer.post(text) }
  }

  /// Waits until all is written, but not longer than this.
  static func drain(milliseconds: Int = 1000) {
    writer.drain(milliseconds: milliseconds)
  }

  private static func line(_ message: String) -> String {
    let text = "\(tool): \(message)".utf8.prefix(longestMessage)
    return clearing() + String(printable: text) + "\n"
  }

  /// What wipes the status line away, if there is one.
  private static func clearing() -> String {
    state.withLock { state in
      defer { state.hasStatusLine = false }
      return state.hasStatusLine ? "\r\u{1b}[K" : ""
    }
  }
}

/// Writes to standard error from a thread of its own.
private final class ConsoleWriter: @unchecked Sendable {
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
