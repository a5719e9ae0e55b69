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
        descriptor = try Descriptor.open(
          hidden, [.readWrite, .createNew], in: directory, name: displayName)
        temporary = (hidden, Cleanup.add { directory.unlink(hidden) })
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
  ///
  public static func commit(_ files: [PendingFile]) throws {
    for file in files { try file.descriptor.sync() }
    try Cleanup.uninterrupted {
      var done: [PendingFile] = []
      do {
        for file in files {
          try file.publish()
          done.append(file)
        }
      } catch {
        for file in done where !file.replaces { file.directory.unlink(file.name) }
        throw error
      }
    }
    for file in files { try file.directory.sync() }
  }

  private func publish() throws {
    do {
      if let temporary {
        try publish(hidden: temporary.name)
        Cleanup.cancel(temporary.cleanup)
      } else if replaces {
        let hidden = Self.hiddenName()
        try directory.link(descriptor, as: hidden)
        do {
          try publish(hidden: hidden)
        } catch {
          directory.unlink(hidden)
          throw error
        }
      } else {
        try directory.link(descriptor, as: name)
      }
    } catch let error as Errno {
      throw Failure(.cannotCreate, descriptor.name, error)
    }
  }

  private func publish(hidden: FilePath) throws(Errno) {
    if replaces {
      try directory.rename(hidden, to: name)
    } else {
      try directory.renameNew(hidden, to: name)
    }
  }
}
