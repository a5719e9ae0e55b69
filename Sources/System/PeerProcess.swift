// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import SystemPackage

/// A process at the other end of a socket.
package struct PeerProcess: Sendable {
  package let id: Int32

  /// The process that listens at the other end of a Unix socket; nil if that is not known.
  package init?(of socket: Int32) {
    // struct ucred: process, user, group.
    var credentials: [Int32] = [0, 0, 0]
    var size = socklen_t(12)
    let code = unsafe getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size)
    guard code == 0, credentials[0] > 0 else { return nil }
    id = credentials[0]
  }

  /// The files and devices that it has open: those that it writes, or all of them.
  package func files(onlyWritten: Bool) -> [FileStatus] {
    Host.names(in: "/proc/\(id)/fd").compactMap { number in
      guard let status = try? Descriptor.status(of: FilePath("/proc/\(id)/fd/\(number)")),
        status.kind == .regular || status.kind == .blockDevice, let raw = Int32(number), raw > 2
      else { return nil }
      // The mode of the link shows how the file was opened.
      guard
        onlyWritten,
        unsafe "/proc/\(id)/fd/\(number)".withCString({ unsafe linux_link_is_writable($0) }) == 0
      else { return status }
      return nil
    }
  }
}
