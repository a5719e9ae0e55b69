// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser
import System
import SystemPackage
package import VMA

extension CompletionKind {
  /// Completes the names of an archive that stands on the command line already.
  ///
  /// - Parameter read: gives the header of the archive at a path, as far as that can be had.
  package static func members(
    withConfigs: Bool, _ read: @escaping @Sendable (String) throws -> ArchiveHeader
  ) -> CompletionKind {
    .custom { words, _, start in
      for path in words.dropFirst() where !path.hasPrefix("-") {
        guard let status = try? Descriptor.status(of: FilePath(path)), status.kind == .regular,
          let header = try? read(path)
        else { continue }
        let names = header.devices.map(\.name) + (withConfigs ? header.configs.map(\.name) : [])
        let whole = names.map { String(printable: $0) }.filter { $0.utf8.allSatisfy(isPlain) }
        if whole.contains(where: { $0.hasPrefix(start) }) { return whole }
        // scsi0 finds drive-scsi0.
        return whole.filter { $0.hasPrefix("drive-") }.map { String($0.dropFirst("drive-".count)) }
      }
      return []
    }
  }
}
