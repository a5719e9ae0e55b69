// SPDX-License-Identifier: Apache-2.0

public import ArgumentParser
internal import SystemPackage
public import VMA

extension CompletionKind {
  /// Completes the names of an archive that stands on the command line already.
  ///
  /// - Parameter read: gives the header of the archive at a path, as far as that can be had.
  public static func members(
    withConfigs: Bool, _ read: @escaping @Sendable (String) throws -> ArchiveHeader
  ) -> CompletionKind {
    .custom { words, _, _ in
      for path in words.dropFirst() where !path.hasPrefix("-") {
        guard let status = try? Descriptor.status(of: FilePath(path)), status.kind == .regular,
          let header = try? read(path)
        else { continue }
        let names = header.devices.map(\.name) + (withConfigs ? header.configs.map(\.name) : [])
        return names.map { String(printable: $0) }.filter { $0.utf8.allSatisfy(isPlain) }
      }
      return []
    }
  }
}
