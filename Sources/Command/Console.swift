// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import System

/// What the tools say, all of it on standard error, each message one line with the tool's name.
///
/// A thread writes it. Standard error may be a terminal that is stopped or a pipe that nobody reads;
/// no other thread waits for it, and the end of the process waits only for a moment.
package enum Console {
  private struct State {
    var tool = ""
    var isQuiet = false
    var hasStatusLine = false
  }

  /// Bytes of the longest line, its newline included: log daemons and mails cut longer ones.
  private static let longestLine = 500

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

  package static var tool: String { state.withLock(\.tool) }

  /// Says something that the user must hear.
  package static func error(_ message: String) {
    writer.post(line(message))
  }

  /// Says something that `--quiet` silences.
  package static func warn(_ message: String) {
    if !state.withLock(\.isQuiet) { error(message) }
  }

  /// Says how far the run is, unless standard error is not ready for it.
  static func report(status: String) {
    if writer.isReady { error(status) }
  }

  /// Shows a line that the next message or status line takes the place of, unless standard error is
  /// not ready for it.
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

  /// Ends the process, when all messages are written or have waited for long.
  package static func exit(_ status: Int32) -> Never {
    drain()
    Glibc.exit(status)
  }

  private static func line(_ message: String) -> String {
    clearing() + String(printable: "\(tool): \(message)".utf8, atMost: longestLine - 1) + "\n"
  }

  /// What wipes the status line away, if there is one.
  private static func clearing() -> String {
    state.withLock { state in
      defer { state.hasStatusLine = false }
      return state.hasStatusLine ? "\r\u{1b}[K" : ""
    }
  }
}
