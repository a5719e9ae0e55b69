// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
package import SystemPackage

// What can be known of a file or device before the first byte is written to it.
extension Descriptor {
  /// What speaks against removing or replacing a name in this directory; nil where nothing does.
  package func obstacle(toReplacing path: FilePath, _ status: FileStatus) throws(Errno) -> Errno? {
    let attributes = unsafe path.withPlatformString { unsafe linux_attributes(raw, $0) }
    if attributes & UInt64(linux_attribute_mount_root) != 0 { return .resourceBusy }
    let fixed = UInt64(linux_attribute_immutable | linux_attribute_append)
    if attributes & fixed != 0 || isAppendOnlyDirectory { return .notPermitted }
    guard let directory = try Self.status(of: ".", in: self) else { return nil }
    let user = geteuid()
    return directory.isSticky && user != 0 && user != status.owner && user != directory.owner
      ? .notPermitted : nil
  }

  /// Whether names in this directory can be made and never removed.
  package var isAppendOnlyDirectory: Bool {
    unsafe linux_attributes(raw, ".") & UInt64(linux_attribute_append) != 0
  }

  /// Whether a file that was opened unnamed is sure to get a name in this directory later.
  package func canLink(_ file: Descriptor) -> Bool {
    // A server may know unnamed files and no links; that shows only when one is made.
    if linux_file_system(raw) == linux_fuse { return false }
    // All that link() needs is looked at before the name is found to be taken.
    do {
      try link(file, as: ".")
      return false
    } catch {
      return error == .fileExists
    }
  }

  /// Checks that a file or device that is open for writing takes writes at all.
  ///
  /// - Throws: status 73.
  package func requireWritable() throws(Failure) {
    switch try status().kind {
    case .blockDevice:
      guard linux_is_read_only_device(raw) == 0 else {
        throw Failure(.cannotCreate, "\(name): device is read-only")
      }
    case .regular: break
    default: return
    }
    let flags = linux_status_flags(raw)
    // Writes of any length at any place are refused then, but for whole blocks.
    guard flags < 0 || flags & linux_o_direct == 0 else {
      throw Failure(
        .cannotCreate, "\(name): is opened with O_DIRECT, which accepts only complete blocks")
    }
  }

  /// Checks that so many bytes may follow the position, as far as that can be known.
  ///
  /// - Throws: status 73.
  package func requireRoom(for count: UInt64) throws(Failure) {
    let status = try status()
    let start = isAppending ? status.size : position ?? 0
    let room: UInt64
    switch status.kind {
    case .blockDevice: room = try size()
    case .regular: room = Host.largestFile
    default: return
    }
    guard room >= start, room - start >= count else {
      throw Failure(
        .cannotCreate,
        "\(name): is too small: \(room - min(room, start)) bytes, \(count) required")
    }
  }

  /// Gives a new file its size, so that one which cannot get it is known before anything is written;
  /// but not where that would write all of it.
  ///
  /// A size beyond what the file system can hold, terabytes mostly, is no error yet: it is more likely
  /// a lie of the archive, which shows when that is read.
  ///
  /// - Throws: status 73.
  package func presetSize(_ size: UInt64) throws(Failure) {
    guard size <= Host.largestFile else { throw Failure(.cannotCreate, name, .fileTooLarge) }
    guard linux_file_system(raw) != linux_fuse else { return }
    if linux_file_system(raw) == linux_fat {
      guard size < 1 << 32 else { throw Failure(.cannotCreate, name, .fileTooLarge) }
      return
    }
    guard let size = off_t(exactly: size) else { return }
    do {
      try SystemCall.ftruncate.retry { ftruncate(raw, size) }
    } catch {
      if error != .fileTooLarge { throw Failure(.cannotCreate, name, error) }
    }
  }

  /// The size of the file system that holds this file, and what of it is free, in bytes; nil where
  /// the file system does not know.
  package func fileSystemSpace() throws(Failure) -> (size: UInt64, free: UInt64)? {
    var status = statvfs()
    try io(.fstatvfs) { unsafe Glibc.fstatvfs(raw, &status) }
    guard status.f_blocks > 0 else { return nil }
    let unit = UInt64(status.f_frsize)
    return (
      UInt64(status.f_blocks).multipliedReportingOverflow(by: unit).partialValue,
      UInt64(status.f_bavail).multipliedReportingOverflow(by: unit).partialValue
    )
  }
}
