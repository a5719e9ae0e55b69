// SPDX-License-Identifier: Apache-2.0

package import System
package import SystemPackage

/// A folder that only its owner can enter, removed at the end of the run in any case.
///
/// Others can write to its parent directory, and it may be given to another user. So once it is
/// created, only descriptors are used: its path may lead elsewhere by then.
package final class PrivateDirectory: Sendable {
  package let path: FilePath
  private let place: Place
  private let cleanup: Int

  /// A directory, its parent, and its name there.
  private struct Place: Sendable {
    var parent: Descriptor
    var name: FilePath
    var directory: Descriptor
    var files: [FilePath]

    init(parent: Descriptor, name: FilePath, directory: Descriptor, files: [FilePath]) {
      self.parent = parent
      self.name = name
      self.directory = directory
      self.files = files
    }

    /// Creates a directory with a new name.
    init(in path: FilePath, prefix: String, files: [FilePath]) throws(Errno) {
      let parent = try Descriptor.directory(at: path)
      let name = try parent.makePrivateDirectory(prefix: prefix)
      let directory: Descriptor
      do {
        directory = try Descriptor.open(
          name, [.directory, .notFollowing], in: parent, name: parent.path(of: name).string)
      } catch {
        parent.removeDirectory(name)
        throw error
      }
      self.init(parent: parent, name: name, directory: directory, files: files)
      try check()
    }

    /// If other users may rename in the parent folder, the name may be another user's by now.
    func check() throws(Errno) {
      guard let status = try Descriptor.status(of: ".", in: directory),
        status.owner == Host.effectiveUserID, status.permissions == 0o700
      else { throw .notPermitted }
    }

    func remove() {
      for file in files { directory.unlink(file) }
      let identity = try? directory.status().identity
      // A different directory of that name is not ours to remove.
      guard let identity,
        let found = try? Descriptor.status(of: name, in: parent, following: false),
        found.identity == identity
      else { return }
      parent.removeDirectory(name)
    }
  }

  /// - Parameters:
  ///   - parent: where to create it.
  ///   - prefix: the start of its name.
  ///   - files: names of the files that it will contain, to be removed with it.
  package init(in parent: FilePath, prefix: String, files: [String]) throws(Failure) {
    do throws(Errno) {
      // A signal comes before all of it, or runs the action that removes it.
      (place, cleanup) = try Cleanup.uninterrupted { () throws(Errno) in
        let place = try Place(in: parent, prefix: prefix, files: files.map { FilePath($0) })
        return (place, Cleanup.add { place.remove() })
      }
    } catch {
      throw Failure(.cannotCreate, parent.string, error)
    }
    path = parent.appending(place.name.components)
  }

  /// The folder of a socket that another process of this program has created, and cannot remove if
  /// it is killed.
  package init(of socket: FilePath) throws(Failure) {
    path = socket.removingLastComponent()
    do throws(Errno) {
      let parent = try Descriptor.directory(at: path.removingLastComponent())
      let name = FilePath(path.lastComponent?.string ?? "")
      let directory = try Descriptor.open(
        name, [.directory, .notFollowing], in: parent, name: path.string)
      let place = Place(
        parent: parent, name: name, directory: directory,
        files: [FilePath(socket.lastComponent?.string ?? "")])
      try place.check()
      self.place = place
      cleanup = Cleanup.add { place.remove() }
    } catch {
      throw Failure(.cannotCreate, path.string, error)
    }
  }

  /// Gives the folder and its files to another user, which root can. The files come first, while no
  /// other user can replace them.
  package func give(to user: UInt32) throws(Failure) {
    do {
      for file in place.files { try place.directory.changeOwner(of: file, to: user) }
      try place.directory.changeOwner(to: user)
    } catch {
      throw Failure(.cannotCreate, "\(path): cannot be given to user \(user)", error)
    }
  }

  package func remove() {
    Cleanup.cancel(cleanup)
    place.remove()
  }

  /// Removes the folder of a killed run, found by its socket.
  ///
  /// - Parameter socket: an untrusted path: only a socket is removed, and only a folder with a name
  ///   as `init` creates it.
  package static func removeRemains(of socket: FilePath, prefix: String) {
    let path = socket.removingLastComponent()
    guard let file = socket.lastComponent, let name = path.lastComponent,
      name.string.hasPrefix(prefix), name.string.utf8.count == prefix.utf8.count + 6,
      let parent = try? Descriptor.directory(at: path.removingLastComponent()),
      let directory = try? Descriptor.open(
        FilePath(name.string), [.directory, .notFollowing], in: parent, name: path.string),
      let status = try? Descriptor.status(
        of: FilePath(file.string), in: directory, following: false), status.kind == .socket
    else { return }
    Place(
      parent: parent, name: FilePath(name.string), directory: directory,
      files: [FilePath(file.string)]
    ).remove()
  }
}
