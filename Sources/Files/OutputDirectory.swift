// SPDX-License-Identifier: Apache-2.0

import System
package import SystemPackage

/// Where members of an archive become files. All names are taken inside of it, whatever happens to
/// its path.
package struct OutputDirectory {
  private let descriptor: Descriptor
  private let path: FilePath

  /// Opens the directory, or makes it: its last component only.
  ///
  /// - Parameter path: the working directory where nil.
  /// - Throws: status 73.
  package init(_ path: String?) throws {
    self.path = FilePath(path ?? ".")
    do {
      if path != nil {
        let made = self.path
        try Cleanup.uninterrupted { () throws(Errno) in
          guard try Descriptor.makeDirectory(made) else { return }
          // Succeeds only as long as nothing is in it.
          _ = Cleanup.add { Descriptor.removeDirectory(made) }
        }
      }
      descriptor = try Descriptor.directory(at: self.path)
    } catch {
      throw Failure(.cannotCreate, self.path.string, error)
    }
  }

  /// Checks that a file of that name can be made.
  ///
  /// - Throws: status 73 where the name is taken.
  package func check(_ name: FilePath, replaces: Bool) throws {
    try PendingFile.check(
      name, in: descriptor, displayName: displayName(name), replaces: replaces)
  }

  /// A file that appears in the directory when it is whole.
  package func file(_ name: FilePath, replaces: Bool) throws -> PendingFile {
    try PendingFile(name, in: descriptor, displayName: displayName(name), replaces: replaces)
  }

  private func displayName(_ name: FilePath) -> String {
    path == "." ? name.string : path.appending(name.components).string
  }
}
