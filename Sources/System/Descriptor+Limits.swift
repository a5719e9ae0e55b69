// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
package import SystemPackage

// What can be checked about a file or device before the first byte is written to it.
extension Descriptor {
  /// Why a name in this directory cannot be removed or replaced; nil if it can.
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

  /// Whether names in this directory can be created but never removed.
  package var isAppendOnlyDirectory: Bool {
    unsafe linux_attributes(raw, ".") & UInt64(linux_attribute_append) != 0
  }

  /// Whether a file that was opened without a name can certainly get a name in this directory
  /// later.
  package func canLink(_ file: Descriptor) -> Bool {
    // A server may support unnamed files but not links; only creating a link shows that.
    if linux_file_system(raw) == linux_fuse { return false }
    // link(2) checks everything else before it finds that the name is in use.
    do {
      try link(file, as: ".")
      return false
    } catch {
      return error == .fileExists
    }
  }

  /// Checks that a file or device that is open for writing accepts writes at all.
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
    // Only writes of complete blocks are accepted then.
    guard flags < 0 || flags & linux_o_direct == 0 else {
      throw Failure(
        .cannotCreate, "\(name): is opened with O_DIRECT, which accepts only complete blocks")
    }
  }

  /// Whether QEMU has opened this image or device: then it holds locks on some of these bytes (see
  /// `locking` in qemu(1)).
  package var isUsedByQEMU: Bool { linux_is_locked(raw, 100, 104) != 0 }

  /// Opens an inherited block device again exclusively, so that it cannot be mounted meanwhile.
  ///
  /// - Returns: nil for other files, and if the device cannot be opened again.
  /// - Throws: EBUSY if it is mounted or otherwise in use.
  package func reserveDevice() throws -> Descriptor? {
    guard try status().kind == .blockDevice else { return nil }
    do throws(Errno) {
      return try .open(FilePath("/proc/self/fd/\(raw)"), [.write, .exclusive], name: name)
    } catch {
      guard error != .resourceBusy else { throw error }
      // This process may lack the permission that the shell had when it opened the device.
      return nil
    }
  }

  /// Checks that `count` bytes fit after the position, as far as that can be known.
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

  /// Gives a new file its size, so that a lack of space is reported before anything is written; not
  /// if that would write all of the file.
  ///
  /// A size above the limit of the file system, mostly terabytes, is not an error yet: the archive
  /// probably claims a wrong size, which is detected when it is read.
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

  /// The size of the file system that holds this file, and its free space, in bytes; nil if the
  /// file system does not report them.
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
