// SPDX-License-Identifier: Apache-2.0

internal import SystemPackage
public import VMA

/// The configuration files of `-c [NAME=]FILE`.
public enum ConfigFiles {
  /// - Throws: status 64 for two of one name, 65 for one that is too long, 66 for one that cannot
  ///   be opened.
  public static func read(_ arguments: [String]) throws -> [Config] {
    var configs: [Config] = []
    for argument in arguments {
      let named = NamedValue(argument)
      guard let name = named.name ?? FilePath(named.value).lastComponent?.string else {
        throw Failure(.usage, "--config: '\(argument)' names no file")
      }
      let config = Config(name: Array(name.utf8), data: try read(file: named.value))
      guard !configs.contains(where: { $0.name == config.name }) else {
        throw Failure(.usage, "two configs are called \(name)")
      }
      configs.append(config)
    }
    return configs
  }

  private static func read(file path: String) throws -> [UInt8] {
    let descriptor = try Descriptor.input(at: path)
    let buffer = try Buffer(capacity: Format.maximumBlobSize + 1)
    let count = try descriptor.readFully(into: buffer, 0..<buffer.capacity)
    guard count <= Format.maximumBlobSize else {
      throw Failure(
        .badData, "\(path): is longer than the \(Format.maximumBlobSize) bytes of a config")
    }
    return buffer.withBytes(0..<count) { bytes in bytes.indices.map { bytes[$0] } }
  }
}
