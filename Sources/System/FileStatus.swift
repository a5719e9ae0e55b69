// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// The part of the result of fstat(2) that the tools use.
package struct FileStatus: Sendable {
  package var kind: FileKind
  /// Bytes; 0 for block devices.
  package var size: UInt64
  /// When the content was changed, in nanoseconds since 1970.
  package var modificationTime: Int64
  /// Device and inode, or the device itself for block devices; equal for the same target.
  package var identity: [UInt64]
  /// The device of the file system that contains the file.
  package var fileSystem: UInt64
  package var owner: UInt32
  /// The bits of chmod(2).
  package var permissions: UInt32
  /// Whether it is a directory whose files only their owners may remove.
  var isSticky: Bool { permissions & S_ISVTX != 0 }

  init(_ status: stat) {
    kind =
      switch status.st_mode & S_IFMT {
      case S_IFREG: .regular
      case S_IFDIR: .directory
      case S_IFBLK: .blockDevice
      case S_IFCHR: .characterDevice
      case S_IFIFO: .fifo
      case S_IFSOCK: .socket
      case S_IFLNK: .symlink
      default: .other
      }
    size = UInt64(max(status.st_size, 0))
    // A file system can contain any time.
    modificationTime =
      Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)
    fileSystem = UInt64(status.st_dev)
    owner = status.st_uid
    permissions = status.st_mode & 0o7777
    identity =
      kind == .blockDevice
      ? [UInt64(status.st_rdev)] : [UInt64(status.st_dev), UInt64(status.st_ino)]
  }
}
