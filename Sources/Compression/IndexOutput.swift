// SPDX-License-Identifier: Apache-2.0

package import Files
import System
import SystemPackage

/// The index file to be written.
package enum IndexOutput {
  /// Opens a file that appears under its name when it is complete, and may replace an index file, but
  /// nothing else.
  ///
  /// - Throws: `Failure` 73 if it cannot be created.
  package static func open(_ path: String) throws -> Output {
    guard path != "-", Descriptor.number(at: FilePath(path)) == nil else {
      throw Failure(.usage, "--index-file: '\(path)' is not the name of a file")
    }
    do throws(Errno) {
      if let there = try Descriptor.status(of: FilePath(path)) {
        guard there.kind == .regular else { throw Errno.fileExists }
      }
    } catch {
      throw Failure(.cannotCreate, path, error)
    }
    return try Output.open(path, replaces: try isIndex(path))
  }

  private static func isIndex(_ path: String) throws -> Bool {
    let file: Descriptor
    do throws(Errno) {
      file = try Descriptor.open(FilePath(path), .read)
    } catch {
      if error == .noSuchFileOrDirectory { return false }
      throw Failure(.cannotCreate, path, error)
    }
    guard IndexFile.isIndex(try file.contents(atMost: 16)) else {
      throw Failure(.cannotCreate, "\(path): already exists, and is not an index file")
    }
    return true
  }
}
