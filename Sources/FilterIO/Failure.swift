// SPDX-License-Identifier: Apache-2.0

public import SystemPackage
public import VMA

/// How a tool ends when it does not end well: one line for the user and an exit status.
public struct Failure: Error, Sendable {
  /// The exit statuses that the manual pages promise, with the names of sysexits.h.
  public enum Status: Int32, Sendable {
    case general = 1
    case usage = 64
    case badData = 65
    case noInput = 66
    case cannotCreate = 73
    case inputOutput = 74
  }

  public var status: Status
  /// What and where, without the tool's name.
  public var message: String
  /// Whether the archive ends in the middle: what came before is sound.
  public var isTruncation = false

  public init(_ status: Status, _ message: String) {
    self.status = status
    self.message = message
  }

  /// A failure of the system, about a file.
  public init(_ status: Status, _ name: String, _ errno: Errno) {
    self.init(status, "\(name): \(errno)")
  }

  /// An archive that is not as it must be.
  public init(_ input: String, _ error: FormatError) {
    self.init(.badData, "\(input): \(error)")
    if case .truncated = error.fault { isTruncation = true }
  }
}
