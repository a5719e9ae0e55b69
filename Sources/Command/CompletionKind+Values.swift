// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser
import System
import SystemPackage
package import VMA

extension CompletionKind {
  /// Completes `[NAME=]FILE`.
  package static var namedFile: CompletionKind { .custom { _, _, _ in [CompletionScript.files] } }

  /// Completes the names of an archive that is already on the command line.
  ///
  /// - Parameter read: reads the header of the archive at a path.
  package static func members(
    withConfigs: Bool, _ read: @escaping @Sendable (String) throws -> ArchiveHeader
  ) -> CompletionKind {
    .values { request in
      guard let header = header(for: request, read) else { return [] }
      return names(
        header.devices.map(\.name) + (withConfigs ? header.configs.map(\.name) : []), for: request)
    }
  }

  /// Completes `DRIVE=PATH`: a drive of the archive on the command line, then a file.
  package static func drivePath(
    _ read: @escaping @Sendable (String) throws -> ArchiveHeader
  ) -> CompletionKind {
    .values { request in
      if request.start.contains("=") { return [CompletionScript.files] }
      guard let header = header(for: request, read) else { return [] }
      return names(header.devices.map(\.name), for: request).map { $0 + "=" }
    }
  }

  /// Completes values that depend on the rest of the command line.
  package static func values(
    _ values: @escaping @Sendable (CompletionRequest) -> [String]
  ) -> CompletionKind {
    .custom { words, index, _ in values(CompletionRequest(words, index: index)) }
  }

  private static func header(
    for request: CompletionRequest, _ read: (String) throws -> ArchiveHeader
  ) -> ArchiveHeader? {
    for path in request.operands {
      // What cannot be read is not the archive.
      if let status = try? Descriptor.status(of: FilePath(path)), status.kind == .regular,
        let header = try? read(path)
      {
        return header
      }
    }
    return nil
  }

  private static func names(_ names: [[UInt8]], for request: CompletionRequest) -> [String] {
    let names = names.map { String(printable: $0) }.filter { $0.utf8.allSatisfy(isPlain) }
    if names.contains(where: { $0.hasPrefix(request.start) }) { return names }
    // scsi0 finds drive-scsi0.
    return names.filter { $0.hasPrefix("drive-") }.map { String($0.dropFirst("drive-".count)) }
  }
}
