// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The checkout that the tests were built from.
enum Repository {
  static let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path

  static func text(_ name: String) throws -> String {
    try String(contentsOfFile: path + "/" + name, encoding: .utf8)
  }

  /// The version in `Package.swift`.
  static let version: String? = {
    let manifest = try? text("Package.swift").split(separator: "\n")
    let prefix = "let version = \""
    return manifest?.first { $0.hasPrefix(prefix) }.map {
      String($0.dropFirst(prefix.count).dropLast())
    }
  }()

  static let program = Tool.directory + "/vma-tools"
}
