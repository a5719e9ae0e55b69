// SPDX-License-Identifier: Apache-2.0

import System

/// The parameters on the command line of nbdkit.
struct Parameters: Sendable {
  var archive: String?
  /// The default export.
  var drive: String?
  /// Whether to serve what a damaged or incomplete archive contains.
  var servesIncomplete = false

  static let help = """
    [archive=]ARCHIVE  (required) The archive to serve.
    drive=DRIVE        Default export (default: the only drive).
    incomplete=true    Serve a damaged or incomplete archive. Reading lost data fails.
    """

  mutating func set(_ key: String, to value: String) throws {
    switch key {
    case "archive":
      guard archive == nil else { throw Failure(.usage, "only one archive can be served") }
      archive = value
    case "drive": drive = value
    case "incomplete": servesIncomplete = try Self.bool(value, key)
    default: throw Failure(.usage, "unknown parameter: \(key)")
    }
  }

  private static func bool(_ value: String, _ key: String) throws -> Bool {
    switch value.lowercased() {
    case "1", "true", "t", "yes", "y", "on": return true
    case "0", "false", "f", "no", "n", "off": return false
    default: throw Failure(.usage, "\(key)=\(value): not true or false")
    }
  }
}
