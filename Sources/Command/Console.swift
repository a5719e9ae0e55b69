// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import System

/// The messages of a tool, on standard error. Each message is one line that starts with the name of
/// the tool.
///
/// A thread writes them. Standard error may be a stopped terminal or a pipe without a reader; no
/// other thread waits for it, and the end of the process waits only briefly.
package enum Console {
  private struct State {
    var tool = ""
    var isQuiet = false
    var hasStatusLine = false
  }

  /// The maximum length of a line with its newline: log daemons and mail truncate longer ones.
  private static let longestLine = 500

  private static let state = Mutex(State())
  private static let writer = ConsoleWriter()

  static func start(tool: String, isQuiet: Bool = false) {
    state.withLock {
      $0.tool = tool
      $0.isQuiet = isQuiet
    }
  }

  /// Starts the thread; without it, messages are written directly.
  static func startWriter() throws(Failure) {
    try writer.start()
  }

  package static var tool: String { state.withLock(\.tool) }

  /// Prints an error.
  package static func error(_ message: String) {
    writer.post(line(message))
  }

  /// Prints a warning, unless `--quiet` is given.
  package static func warn(_ message: String) {
    if !state.withLock(\.isQuiet) { error("warning: \(message)") }
  }

  /// Prints the progress of the run, unless standard error is not ready.
  static func report(status: String) {
    if writer.isReady { error(status) }
  }

  /// Shows a line that the next message or status line replaces, unless standard error is not
  /// ready.
  static func show(status: (_ width: Int) -> String) {
    guard writer.isReady else { return }
    // The last column stays empty: some terminals begin a new line after it.
    let width = min(Descriptor.standardError.terminalWidth ?? 80, 80) - 1
    let text = state.withLock {
      $0.hasStatusLine = true
      let start = "\($0.tool): "
      return "\r" + String((start + status(width - start.count)).prefix(width)) + "\u{1b}[K"
    }
    writer.post(text)
  }

  /// From now on, nothing is printed: standard error is a file that must not be written.
  static func mute() { writer.mute() }

  static func clearStatus() {
    let text = clearing()
    if !text.isEmpty { writer.post(text) }
  }

  /// Waits until everything is written, with this timeout.
  static func drain(milliseconds: Int = 1000) {
    writer.drain(milliseconds: milliseconds)
  }

  /// Ends the process, once all messages are written or on timeout.
  package static func exit(_ status: Int32) -> Never {
    drain()
    Glibc.exit(status)
  }

  private static func line(_ message: String) -> String {
    clearing() + String(printable: "\(tool): \(message)".utf8, atMost: longestLine - 1) + "\n"
  }

  /// Clears the status line, if there is one.
  private static func clearing() -> String {
    state.withLock { state in
      defer { state.hasStatusLine = false }
      return state.hasStatusLine ? "\r\u{1b}[K" : ""
    }
  }
}
