// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
package import SystemPackage

// Names in a directory.
extension Descriptor {
  /// Gives a file that was opened unnamed a name in this directory.
  package func link(_ file: Descriptor, as path: FilePath) throws(Errno) {
    try unsafe Self.with(.linkat, FilePath("/proc/self/fd/\(file.raw)"), path) { source, target in
      unsafe linkat(AT_FDCWD, source, raw, target, linux_at_symlink_follow)
    }
  }

  /// Renames within this directory, and replaces an existing file.
  package func rename(_ path: FilePath, to newPath: FilePath) throws(Errno) {
    try unsafe Self.with(.renameat, path, newPath) { source, target in
      unsafe renameat(raw, source, raw, target)
    }
  }

  /// Creates another name for a file in this directory; for a symbolic link, of the link itself.
  package func link(_ path: FilePath, to newPath: FilePath) throws(Errno) {
    try unsafe Self.with(.linkat, path, newPath) { source, target in
      unsafe linkat(raw, source, raw, target, 0)
    }
  }

  /// Renames a file within this directory; fails with EEXIST if the name exists.
  package func renameNew(_ path: FilePath, to newPath: FilePath) throws(Errno) {
    do {
      return try unsafe Self.with(.renameat2, path, newPath) { source, target in
        unsafe linux_rename_new(raw, source, target)
      }
    } catch {
      if error == .fileExists { throw error }
    }
    // File systems without RENAME_NOREPLACE.
    do {
      try link(path, to: newPath)
      return unlink(path)
    } catch {
      if error == .fileExists { throw error }
    }
    // And without hard links: an empty file reserves the name, and only that file is replaced.
    _ = try Self.open(newPath, [.write, .createNew], in: self)
    do {
      try rename(path, to: newPath)
    } catch {
      unlink(newPath)
      throw error
    }
  }

  /// Calls a function that has two paths.
  private static func with(
    _ system: SystemCall, _ first: FilePath, _ second: FilePath,
    _ call: (UnsafePointer<CChar>, UnsafePointer<CChar>) -> Int32
  ) throws(Errno) {
    try unsafe first.withPlatformString { first in
      Result { () throws(Errno) in
        _ = try unsafe system.retry(second) { second in unsafe call(first, second) }
      }
    }.get()
  }

  /// Removes a name in this directory; one that stays is reported.
  package func unlink(_ path: FilePath) { remove(path, flags: 0) }

  private func remove(_ path: FilePath, flags: Int32) {
    do {
      try unsafe SystemCall.unlinkat.retry(path) { unsafe unlinkat(raw, $0, flags) }
    } catch {
      guard error != .noSuchFileOrDirectory else { return }
      Cleanup.leaves("\(self.path(of: path)): cannot be removed: \(error)")
    }
  }

  /// The path of a name in this directory, for messages.
  package func path(of name: FilePath) -> FilePath {
    self.name == "." ? name : FilePath(self.name).appending(name.components)
  }

  /// The number of the inherited descriptor that a path such as `/dev/fd/3` or `/dev/stdout` means;
  /// nil for any other path.
  package static func number(at path: FilePath) -> Int32? {
    guard let own = Host.realPath("/proc/self/fd") else { return nil }
    var path = path
    // As many links as open(2) follows.
    for _ in 0..<40 {
      let folder = path.removingLastComponent()
      if Host.realPath(folder.isEmpty ? "." : folder) == own {
        return path.lastComponent.flatMap { Int32($0.string) }
      }
      guard let target = target(ofLink: path) else { return nil }
      path = folder.pushing(target)
    }
    return nil
  }

  /// The target of a symbolic link; nil if the path is not one.
  private static func target(ofLink path: FilePath) -> FilePath? {
    var bytes = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    let count = unsafe path.withPlatformString { path in
      SystemCall.readlink.attempt { unsafe readlink(path, &bytes, bytes.count - 1) }
    }
    return count > 0 ? FilePath(platformString: bytes) : nil
  }

  /// Creates a directory; false if the name exists.
  package static func makeDirectory(_ path: FilePath) throws(Errno) -> Bool {
    do {
      try unsafe SystemCall.mkdir.retry(path) { unsafe mkdir($0, 0o777) }
      return true
    } catch {
      if error == .fileExists { return false }
      throw error
    }
  }

  /// Removes an empty directory in this one; one that stays is reported.
  package func removeDirectory(_ path: FilePath) { remove(path, flags: AT_REMOVEDIR) }

  /// Removes a directory, but only if it is empty.
  package static func removeDirectory(_ path: FilePath) {
    do {
      try unsafe SystemCall.rmdir.retry(path) { unsafe rmdir($0) }
    } catch {
      guard ![.directoryNotEmpty, .noSuchFileOrDirectory].contains(error) else { return }
      Cleanup.leaves("\(path): cannot be removed: \(error)")
    }
  }

  /// Creates a directory in this one that only its owner can enter.
  ///
  /// - Returns: its name, which begins with `prefix`.
  package func makePrivateDirectory(prefix: String) throws(Errno) -> FilePath {
    var template = "/proc/self/fd/\(raw)/\(prefix)XXXXXX".utf8CString.map { $0 }
    try SystemCall.mkdtemp.retry { unsafe mkdtemp(&template) == nil ? -1 : 0 }
    return FilePath(FilePath(platformString: template).lastComponent?.string ?? "")
  }

  /// Changes the owner of a file in this directory; of a link itself, not of its target.
  package func changeOwner(of path: FilePath, to user: UInt32) throws(Errno) {
    try unsafe SystemCall.fchownat.retry(path) {
      unsafe fchownat(raw, $0, user, gid_t.max, AT_SYMLINK_NOFOLLOW)
    }
  }

  package func changeOwner(to user: UInt32) throws(Errno) {
    try SystemCall.fchown.retry { fchown(raw, user, gid_t.max) }
  }
}
