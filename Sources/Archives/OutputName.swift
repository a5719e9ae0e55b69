// SPDX-License-Identifier: Apache-2.0

import System
package import SystemPackage
package import VMA

/// The file name of a member outside the archive.
package struct OutputName: Hashable, Sendable {
  package let bytes: [UInt8]
  /// The maximum length of a file name in bytes.
  package static let longest = 255
  /// The name in the archive.
  private let member: [UInt8]

  private init(_ bytes: [UInt8], member: [UInt8]) {
    self.bytes = bytes
    self.member = member
  }

  /// `disk-<device>.raw`, or `vmstate.bin`.
  package init(_ device: ArchiveHeader.Device) {
    self.init(
      device.isVMState
        ? Array("vmstate.bin".utf8) : Array("disk-".utf8) + device.name + Array(".raw".utf8),
      member: device.name)
  }

  package init(_ config: ArchiveHeader.Config) {
    self.init(config.name, member: config.name)
  }

  /// A name that was composed elsewhere.
  package init(memberName bytes: [UInt8]) {
    self.init(bytes, member: bytes)
  }

  /// The name with a suffix.
  package func appending(_ suffix: String) -> OutputName {
    OutputName(bytes + Array(suffix.utf8), member: member)
  }

  package var path: FilePath { FilePath(bytes: bytes) }

  package var text: String { String(decoding: bytes, as: UTF8.self) }

  /// Checks that these names can be given to files in one directory, before any file is created.
  ///
  /// - Throws: status 65 for a member whose name is empty, `.` or `..`; whose file name is longer
  ///   than 255 bytes, or a duplicate; or that contains a slash, NUL or other control character.
  package static func check(_ names: [OutputName], archive: String) throws {
    var seen: Set<[UInt8]> = []
    for name in names {
      let fault: String? =
        if name.member.isEmpty {
          "has no name"
        } else if name.member == [46] || name.member == [46, 46] {
          "names a directory"
        } else if name.bytes.count > longest {
          "has a name of more than 255 bytes"
        } else if name.bytes.contains(47) {
          "has a slash in its name"
        } else if name.bytes.contains(where: { $0 < 32 || $0 == 127 }) {
          "has control characters in its name"
        } else if !seen.insert(name.bytes).inserted {
          "has a duplicate name"
        } else {
          nil
        }
      if let fault {
        throw Failure(.badData, "\(archive): member '\(name.text.prefix(80))' \(fault)")
      }
    }
  }
}
