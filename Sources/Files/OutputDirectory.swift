// SPDX-License-Identifier: Apache-2.0

import System
package import SystemPackage

/// The directory for the members of an archive. All names are relative to the opened directory,
/// even if its path changes.
package struct OutputDirectory {
  private let descriptor: Descriptor
  private let path: FilePath

  /// Opens the directory, or creates it: only its last component.
  ///
  /// - Parameter path: the working directory if nil.
  /// - Throws: status 73.
  package init(_ path: String?) throws {
    self.path = FilePath(path ?? ".")
    do {
      if path != nil {
        let made = self.path
        try Cleanup.uninterrupted { () throws(Errno) in
          guard try Descriptor.makeDirectory(made) else { return }
          // Succeeds only while it is empty.
          _ = Cleanup.add { Descriptor.removeDirectory(made) }
        }
      }
      descriptor = try Descriptor.directory(at: self.path)
    } catch {
      throw Failure(.cannotCreate, self.path.string, error)
    }
  }

  /// Checks that a file of that name can be created.
  ///
  /// - Throws: status 73 if the name exists.
  package func check(_ name: FilePath, replaces: Bool) throws {
    try PendingFile.check(
      name, in: descriptor, displayName: displayName(name), replaces: replaces)
  }

  /// A file that appears in the directory once it is complete.
  package func file(_ name: FilePath, replaces: Bool) throws -> PendingFile {
    try PendingFile(name, in: descriptor, displayName: displayName(name), replaces: replaces)
  }

  private func displayName(_ name: FilePath) -> String {
    path == "." ? name.string : path.appending(name.components).string
  }
}
