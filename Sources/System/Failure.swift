// SPDX-License-Identifier: Apache-2.0

package import SystemPackage

/// Why a tool fails: one line for the user and an exit status.
package struct Failure: Error, Sendable {
  /// The exit statuses that the manual pages document, with the names of sysexits.h.
  package enum Status: Int32, Sendable {
    case general = 1
    case usage = 64
    case badData = 65
    case noInput = 66
    case cannotCreate = 73
    case inputOutput = 74
  }

  package var status: Status
  /// What and where, without the tool's name.
  package var message: String
  /// Whether the archive is truncated: the data before that is intact.
  package var isTruncation = false

  package init(_ status: Status, _ message: String) {
    self.status = status
    self.message = message
  }

  /// A failure of the system, about a file.
  package init(_ status: Status, _ name: String, _ errno: Errno) {
    self.init(status, "\(name): \(errno)")
  }
}
