// SPDX-License-Identifier: Apache-2.0

import Archives
import System

extension Target {
  /// A `qemu-server.conf`.
  public static let config = Target(name: "config") { input in
    let config: ServerConfig
    do {
      config = try ServerConfig(input)
    } catch let failure as Failure {
      try require(failure.status == .badData, failure.message)
      return
    }
    let content = config.content()
    let again = try ServerConfig(content)
    try require(again.mapLines == config.mapLines, "the map")
    try require(again.disks == config.disks, "the disks")
    try require(again.content() == content, "written twice is the same")
  }
}
