// SPDX-License-Identifier: Apache-2.0

package import System
import SystemPackage

extension Descriptor {
  /// The directory for a temporary file: `directory`; if nil, `$TMPDIR`, or else `/var/tmp`.
  package static func temporaryDirectory(_ directory: String?) -> String {
    let variable = Host.environment("TMPDIR").flatMap { $0.isEmpty ? nil : $0 }
    return directory ?? variable ?? "/var/tmp"
  }

  /// An unlinked file for temporary data.
  ///
  /// - Parameters:
  ///   - directory: see `temporaryDirectory`.
  ///   - kind: its name in messages.
  /// - Throws: status 73.
  package static func temporary(
    in directory: String?, called kind: String = "temporary file"
  ) throws -> Descriptor {
    let path = FilePath(temporaryDirectory(directory))
    let name = "\(kind) in \(path)"
    do {
      do {
        return try open(path, [.readWrite, .unnamed], name: name, permissions: 0o600)
      } catch {
        let folder = try Self.directory(at: path)
        let hidden = PendingFile.hiddenName()
        return try Cleanup.uninterrupted { () throws(Errno) in
          let file = try open(
            hidden, [.readWrite, .createNew], in: folder, name: name, permissions: 0o600)
          folder.unlink(hidden)
          return file
        }
      }
    } catch {
      throw Failure(.cannotCreate, path.string, error)
    }
  }
}
