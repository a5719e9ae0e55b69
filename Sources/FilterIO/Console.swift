// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// What the tools say, all of it on standard error, each message one line with the tool's name.
public enum Console {
  fileprivate struct State {
    var tool = ""
    var isQuiet = false
    var hasStatusLine = false
  }

  private static let state = Mutex(State())

  static func start(tool: String, isQuiet: Bool = false) {
    state.withLock {
      $0.tool = tool
      $0.isQuiet = isQuiet
    }
  }

  public static var tool: String { state.withLock(\.tool) }

  /// Says something that the user must hear.
  public static func error(_ message: String) {
    state.withLock { $0.write(message) }
  }

  /// Says something that `--quiet` silences.
  public static func warn(_ message: String) {
    state.withLock { if !$0.isQuiet { $0.write(message) } }
  }

  /// Shows a line that the next message or status line takes the place of.
  static func show(status: String) {
    state.withLock {
      $0.hasStatusLine = true
      let width = Descriptor.standardError.terminalWidth ?? 80
      $0.raw("\r" + String("\($0.tool): \(status)".prefix(width - 1)) + "\u{1b}[K")
    }
  }

  static func clearStatus() {
    state.withLock { $0.clear() }
  }
}

extension Console.State {
  fileprivate mutating func clear() {
    if hasStatusLine { raw("\r\u{1b}[K") }
    hasStatusLine = false
  }

  fileprivate mutating func write(_ message: String) {
    clear()
    raw(String(printable: "\(tool): \(message)".utf8) + "\n")
  }

  /// Nobody is left to tell when standard error fails.
  fileprivate func raw(_ text: String) {
    try? Descriptor.standardError.write(Array(text.utf8))
  }
}
