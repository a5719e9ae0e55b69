// SPDX-License-Identifier: Apache-2.0

public import SystemPackage

/// A file that appears under its name only when it is whole, or not at all.
///
/// It is written without a name (O_TMPFILE) where the file system can do that, so that not even a
/// SIGKILL leaves anything behind; elsewhere under a hidden name of its own.
public final class PendingFile: Sendable {
  public let descriptor: Descriptor
  private let directory: Descriptor
  private let name: FilePath
  private let replaces: Bool
  /// The hidden name and its cleanup; nil for a file without a name.
  private let temporary: (name: FilePath, cleanup: Int)?

  /// Opens the file for writing and reading.
  ///
  /// - Parameters:
  ///   - name: the final name in `directory`, without any slash.
  ///   - displayName: for messages.
  ///   - replaces: whether a file (or symbolic link, itself) of that name may be replaced.
  /// - Throws: status 73 where the name is taken or the file cannot be created.
  public init(
    _ name: FilePath, in directory: Descriptor, displayName: String, replaces: Bool
  ) throws {
    self.name = name
    self.directory = directory
    self.replaces = replaces
    _ = try Self.check(name, in: directory, displayName: displayName, replaces: replaces)
    do {
      do {
        descriptor = try Descriptor.open(
          ".", [.readWrite, .unnamed], in: directory, name: displayName)
        temporary = nil
      } catch Errno.notSupported, Errno.isDirectory, Errno.noSuchFileOrDirectory, Errno
        .invalidArgument
      {
        let hidden = Self.hiddenName()
        var cleanup = 0
        // In one step: a signal between the two would leave the file behind.
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

  /// The same file, to appear under another name.
  public func renamed(_ name: FilePath) -> PendingFile {
    PendingFile(self, name: name)
  }

  private init(_ file: PendingFile, name: FilePath) {
    descriptor = file.descriptor
    directory = file.directory
    replaces = file.replaces
    temporary = file.temporary
    self.name = name
  }

  /// What is there under a name and would be replaced.
  ///
  /// - Throws: status 73 where the name is taken.
  static func check(
    _ name: FilePath, in directory: Descriptor, displayName: String, replaces: Bool
  ) throws -> FileStatus? {
    let there: FileStatus?
    do {
      there = try Descriptor.status(of: name, in: directory, following: false)
    } catch {
      throw Failure(.cannotCreate, displayName, error)
    }
    guard let there else { return nil }
    if there.kind == .directory { throw Failure(.cannotCreate, displayName, .isDirectory) }
    if !replaces { throw Failure(.cannotCreate, "\(displayName): exists already (-f replaces it)") }
    return there
  }

  static func hiddenName() -> FilePath {
    // The name itself may fill all 255 bytes that a name can have.
    FilePath(".vma-\(String(UInt64.random(in: .min ... .max), radix: 36)).part")
  }

  /// Gives files their names, all or none.
  public static func commit(_ files: [PendingFile]) throws {
    for file in files { try file.descriptor.sync() }
    try Cleanup.uninterrupted {
      var done: [Publication] = []
      do {
        for file in files { done.append(try file.publish()) }
      } catch {
        for publication in done.reversed() { publication.undo() }
        throw error
      }
      for publication in done { publication.confirm() }
    }
    for file in files { try file.directory.sync() }
  }

  /// A name that was given, and may be taken back as long as not all others are given too.
  private struct Publication {
    var undo: () -> Void
    var confirm: () -> Void
  }

  private func publish() throws -> Publication {
    let (directory, name) = (directory, name)
    do {
      guard replaces else {
        if let temporary {
          try directory.renameNew(temporary.name, to: name)
          Cleanup.cancel(temporary.cleanup)
        } else {
          try directory.link(descriptor, as: name)
        }
        return Publication(undo: { directory.unlink(name) }, confirm: {})
      }
      let hidden = temporary?.name ?? Self.hiddenName()
      if temporary == nil { try directory.link(descriptor, as: hidden) }
      do {
        let publication = try replace(with: hidden)
        if let temporary { Cleanup.cancel(temporary.cleanup) }
        return publication
      } catch {
        directory.unlink(hidden)
        throw error
      }
    } catch let error as Errno {
      throw Failure(.cannotCreate, descriptor.name, error)
    }
  }

  /// Puts the file in the place of what is there, which keeps the hidden name until it is sure that
  /// it has to go.
  private func replace(with hidden: FilePath) throws(Errno) -> Publication {
    let (directory, name) = (directory, name)
    do {
      try directory.exchange(hidden, name)
      return Publication(
        undo: {
          try? directory.exchange(hidden, name)
          directory.unlink(hidden)
        },
        confirm: { directory.unlink(hidden) })
    } catch {
      // Nothing is there, or the file system cannot exchange.
      guard error == .noSuchFileOrDirectory || error == .invalidArgument || error == .noFunction
      else { throw error }
      let wasFree = error == .noSuchFileOrDirectory
      try directory.rename(hidden, to: name)
      return Publication(undo: { if wasFree { directory.unlink(name) } }, confirm: {})
    }
  }
}
