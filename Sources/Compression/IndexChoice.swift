// SPDX-License-Identifier: Apache-2.0

import Files
import System
import SystemPackage

/// Which index file a reader of an archive uses.
package struct IndexChoice {
  /// The index file that the user named; nil to use the one beside the archive, if there is one.
  private let path: String?
  private let warn: (String) -> Void

  /// - Parameter warn: receives why an index beside the archive is not used.
  package init(path: String?, warn: @escaping (String) -> Void) {
    self.path = path
    self.warn = warn
  }

  /// The index file beside an archive.
  package static func path(beside archive: String) -> String { archive + ".idx" }

  var isNamed: Bool { path != nil }

  /// Opens the index of an archive.
  ///
  /// - Parameters:
  ///   - bytes: the archive as it is stored.
  ///   - archive: its path; nil if it has none.
  /// - Returns: nil if there is none, or one that does not belong to the archive.
  /// - Throws: `Failure` 65 if the index that the user named does not belong to the archive.
  func open(for bytes: any RandomAccess, at archive: String?) throws -> IndexFile? {
    try open(at: archive) { try Self.open($0, for: bytes) }
  }

  /// Opens the index of an archive that may be damaged since the index was created.
  func open(forDamaged bytes: any RandomAccess, at archive: String?) throws -> IndexFile? {
    try open(at: archive) { path in
      let index = try IndexFile(FileBytes(Descriptor.input(at: path)))
      guard index.identity.resembles(try ArchiveIdentity(of: bytes)) else {
        throw Failure(
          .badData, "\(path): is not an index of \(bytes.name): its size and first bytes differ")
      }
      return index
    }
  }

  private func open(
    at archive: String?, _ open: (String) throws -> IndexFile
  ) throws -> IndexFile? {
    if let path {
      try Self.requireFile(path)
      return try open(path)
    }
    guard let path = archive.map(Self.path) else { return nil }
    do {
      guard try Descriptor.status(of: FilePath(path)) != nil else { return nil }
      try Self.requireFile(path)
      return try open(path)
    } catch let failure as Failure {
      warn("\(failure.message); reading without the index")
    } catch let error as Errno {
      warn("\(path): \(error); reading without the index")
    }
    return nil
  }

  /// Opening a FIFO would wait.
  private static func requireFile(_ path: String) throws {
    let kind: FileKind?
    do throws(Errno) {
      kind = try Descriptor.status(of: FilePath(path))?.kind
    } catch {
      throw Failure(.noInput, path, error)
    }
    guard let kind else { throw Failure(.noInput, path, .noSuchFileOrDirectory) }
    guard kind == .regular || kind == .blockDevice else {
      throw Failure(.noInput, "\(path): is not a regular file")
    }
  }

  private static func open(_ path: String, for bytes: any RandomAccess) throws -> IndexFile {
    let index = try IndexFile(FileBytes(Descriptor.input(at: path)))
    if let difference = index.identity.difference(from: try ArchiveIdentity(of: bytes)) {
      throw Failure(
        .badData, "\(path): is the index of another version of \(bytes.name): \(difference)")
    }
    return index
  }
}
