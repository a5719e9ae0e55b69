// SPDX-License-Identifier: Apache-2.0

import Files
import System
import SystemPackage
package import VMA

/// The configuration files of `-c [NAME=]FILE`.
package enum ConfigFiles {
  /// - Throws: status 64 for duplicate names, 65 for a file that is too long, 66 for one that
  ///   cannot be opened.
  package static func read(_ arguments: [String]) throws -> [ArchiveHeader.Config] {
    var configs: [ArchiveHeader.Config] = []
    for argument in arguments {
      let named = NamedValue(argument)
      guard let name = named.name ?? FilePath(named.value).lastComponent?.string else {
        throw Failure(.usage, "--config: '\(argument)' does not name a file")
      }
      let config = ArchiveHeader.Config(name: Array(name.utf8), data: try read(file: named.value))
      guard !configs.contains(where: { $0.name == config.name }) else {
        throw Failure(.usage, "duplicate configuration file name: \(name)")
      }
      configs.append(config)
    }
    return configs
  }

  private static func read(file path: String) throws -> [UInt8] {
    let content = try Descriptor.input(at: path).contents(atMost: VMAFormat.maximumBlobSize + 1)
    guard content.count <= VMAFormat.maximumBlobSize else {
      throw Failure(
        .badData,
        "\(path): is longer than \(VMAFormat.maximumBlobSize) bytes, the limit for a configuration file"
      )
    }
    return content
  }
}
