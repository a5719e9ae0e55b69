// SPDX-License-Identifier: Apache-2.0

package import System
package import SystemPackage

/// A file that appears under its name only when it is complete, or not at all.
///
/// If the file system supports it, the file has no name while it is written (O_TMPFILE), so that
/// not even a SIGKILL leaves anything behind. Otherwise it has a hidden name of its own. Everything
/// that could prevent it from getting its name is checked before anything is written.
package final class PendingFile: Sendable {
  package let descriptor: Descriptor
  private let directory: Descriptor
  private let name: FilePath
  private let displayName: String
  private let replaces: Bool
  /// The hidden name and its cleanup; nil for a file without a name.
  private let temporary: (name: FilePath, cleanup: Int)?

  /// Opens the file for writing and reading.
  ///
  /// - Parameters:
  ///   - name: the final name in `directory`, without any slash.
  ///   - displayName: for messages.
  ///   - replaces: whether to replace an existing file (or symbolic link, itself) of that name.
  /// - Throws: status 73 if the name exists or the file cannot be created; 64 if the name is that
  ///   of an input or another output.
  package init(
    _ name: FilePath, in directory: Descriptor, displayName: String, replaces: Bool
  ) throws {
    self.name = name
    self.directory = directory
    self.displayName = displayName
    self.replaces = replaces
    try Self.check(name, in: directory, displayName: displayName, replaces: replaces)
    try Self.claim(name, in: directory, displayName: displayName)
    do throws(Errno) {
      try Self.tryOut(name, in: directory)
      if let unnamed = try? Descriptor.open(
        ".", [.readWrite, .unnamed], in: directory, name: displayName), directory.canLink(unnamed)
      {
        (descriptor, temporary) = (unnamed, nil)
      } else {
        guard !directory.isAppendOnlyDirectory else { throw Errno.notPermitted }
        let hidden = Self.hiddenName()
        var cleanup = 0
        // In one step: otherwise a signal could leave the file behind.
        descriptor = try Cleanup.uninterrupted { () throws(Errno) in
          let file = try Descriptor.open(
            hidden, [.readWrite, .createNew], in: directory, name: displayName)
          cleanup = Cleanup.add { directory.unlink(hidden) }
          return file
        }
        temporary = (hidden, cleanup)
      }
    } catch {
      throw Failure(.cannotCreate, displayName, error)
    }
  }

  /// The same file, but with another final name.
  package func renamed(_ name: FilePath) -> PendingFile {
    PendingFile(self, name: name)
  }

  private init(_ file: PendingFile, name: FilePath) {
    descriptor = file.descriptor
    directory = file.directory
    displayName = file.displayName
    replaces = file.replaces
    temporary = file.temporary
    self.name = name
  }

  // MARK: Before anything is written

  /// Checks that a file can get a name.
  ///
  /// - Returns: the existing file that would be replaced.
  /// - Throws: status 73 if the name exists, or that file cannot be replaced.
  @discardableResult
  static func check(
    _ name: FilePath, in directory: Descriptor, displayName: String, replaces: Bool
  ) throws -> FileStatus? {
    do {
      guard let there = try Descriptor.status(of: name, in: directory, following: false) else {
        return nil
      }
      if there.kind == .directory { throw Errno.isDirectory }
      guard replaces else {
        throw Failure(.cannotCreate, "\(displayName): already exists (use -f to overwrite)")
      }
      if let obstacle = try directory.obstacle(toReplacing: name, there) { throw obstacle }
      return there
    } catch let error as Errno {
      throw Failure(.cannotCreate, displayName, error)
    }
  }

  /// Claims a name in a directory, and the file that has it.
  private static func claim(
    _ name: FilePath, in directory: Descriptor, displayName: String
  ) throws {
    let folder = try directory.status()
    // A symbolic link is replaced itself, but a user who gives the name of an input does not expect
    // that.
    let there = [false, true].compactMap {
      (try? Descriptor.status(of: name, in: directory, following: $0)) ?? nil
    }
    try Claims.output(name, in: folder, replacing: there, name: displayName)
  }

  /// Checks whether a directory accepts a name with these characters: not all file systems do, and
  /// a file without a name would get the error only at the end.
  private static func tryOut(_ name: FilePath, in directory: Descriptor) throws(Errno) {
    let isPlain = name.bytes.allSatisfy { byte in
      switch byte {
      case 48...57, 65...90, 97...122, UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"): true
      default: false
      }
    }
    guard !isPlain, !directory.isAppendOnlyDirectory else { return }
    // The end of the name, in complete characters, after a hidden prefix.
    let start = hiddenName().bytes
    let end = name.bytes.suffix(255 - start.count)
    let whole = end.count < name.bytes.count ? end.drop { $0 & 0xc0 == 0x80 } : end
    let hidden = FilePath(bytes: start + whole)
    try Cleanup.uninterrupted { () throws(Errno) in
      _ = try Descriptor.open(hidden, [.write, .createNew], in: directory)
      directory.unlink(hidden)
    }
  }

  static func hiddenName() -> FilePath {
    // The name itself may use all 255 bytes that a name can have.
    FilePath(".vma-\(String(UInt64.random(in: .min ... .max), radix: 36)).part")
  }

  // MARK: When all is written

  /// Gives files their names, all or none.
  package static func commit(_ files: [PendingFile]) throws {
    for file in files { try file.descriptor.sync() }
    try Cleanup.uninterrupted {
      var done: [Publication] = []
      do {
        for (index, file) in files.enumerated() {
          let others = done.map(\.identity)
          done.append(
            try file.publish(
              after: others, keepingOld: files.count > 1, isLast: index + 1 == files.count))
        }
        for file in files { try file.directory.syncNames(with: file.descriptor) }
      } catch {
        for publication in done.reversed() { publication.undo?() }
        if done.contains(where: { $0.undo == nil }), let failure = error as? Failure {
          throw Failure(
            failure.status,
            "\(failure.message); the new file is complete and in place, but may not survive a crash"
          )
        }
        throw error
      }
      for publication in done { publication.confirm() }
    }
  }

  /// A new name, which may be removed as long as not all others are given, too.
  private struct Publication {
    /// Identifies the file that has the name now.
    var identity: [UInt64]
    /// Nil if the last or only file has replaced another one, which is not kept: if the process were
    /// killed, it would remain under a hidden name.
    var undo: (() -> Void)?
    var confirm: () -> Void = {}
  }

  /// Gives the file its name.
  ///
  /// - Parameters:
  ///   - others: files that already have their names.
  ///   - keepingOld: whether this may have to be undone.
  ///   - isLast: whether no other file gets its name after this one.
  private func publish(
    after others: [[UInt64]], keepingOld: Bool, isLast: Bool
  ) throws -> Publication {
    let (directory, name) = (directory, name)
    var publication = Publication(identity: try descriptor.status().identity)
    do {
      guard replaces else {
        try publishNew()
        publication.undo = { directory.unlink(name) }
        return publication
      }
      // The file with this name may change while it is checked: then it is checked again.
      for _ in 0..<16 {
        let there = try Self.check(name, in: directory, displayName: displayName, replaces: true)
        do {
          guard let there else {
            try publishNew()
            publication.undo = { directory.unlink(name) }
            return publication
          }
          guard !others.contains(there.identity) else {
            throw Failure(
              .cannotCreate,
              "\(displayName): is also the name of another member on this file system"
            )
          }
          guard keepingOld else {
            try replace()
            return publication
          }
          let old = Self.hiddenName()
          do {
            try directory.link(name, to: old)
            do { try replace() } catch {
              directory.unlink(old)
              throw error
            }
          } catch let error as Errno where error != .isDirectory {
            // A file system without hard links.
            guard !isLast else {
              try replace()
              return publication
            }
            // The name is briefly free.
            try moveAside(to: old)
            do { try publishNew() } catch {
              restore(old, with: directory.renameNew)
              throw error
            }
          }
          publication.undo = { self.restore(old, with: directory.rename) }
          publication.confirm = { directory.unlink(old) }
          return publication
        } catch Errno.fileExists, Errno.noSuchFileOrDirectory {
          continue
        }
      }
      throw Errno.resourceBusy
    } catch let error as Errno {
      throw Failure(.cannotCreate, displayName, error)
    }
  }

  /// Gives the name back to the file that had it.
  private func restore(_ old: FilePath, with rename: (FilePath, FilePath) throws(Errno) -> Void) {
    do {
      try rename(old, name)
    } catch {
      Cleanup.leaves(
        "\(displayName): the old file is now \(directory.path(of: old)): cannot rename: \(error)")
    }
  }

  /// Gives the file its name, which must be free.
  private func publishNew() throws(Errno) {
    if let temporary {
      try directory.renameNew(temporary.name, to: name)
      Cleanup.cancel(temporary.cleanup)
    } else {
      try directory.link(descriptor, as: name)
    }
  }

  /// Replaces another file with this one. rename(2) does not replace a directory.
  private func replace() throws(Errno) {
    if let temporary {
      try directory.rename(temporary.name, to: name)
      return Cleanup.cancel(temporary.cleanup)
    }
    let hidden = Self.hiddenName()
    try directory.link(descriptor, as: hidden)
    do {
      try directory.rename(hidden, to: name)
    } catch {
      directory.unlink(hidden)
      throw error
    }
  }

  /// Moves the file with this name, but never a directory: a file cannot replace one.
  private func moveAside(to old: FilePath) throws(Errno) {
    _ = try Descriptor.open(old, [.write, .createNew], in: directory)
    do {
      try directory.rename(name, to: old)
    } catch {
      directory.unlink(old)
      throw error == .notDirectory ? .isDirectory : error
    }
  }
}
