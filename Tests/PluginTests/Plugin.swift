// SPDX-License-Identifier: Apache-2.0

import Testing

/// The plugin of this build, for commands that run `nbdkit vma`.
enum Plugin {
  static let path = Tool.directory + "/libnbdkit-vma-plugin.so"
}

extension Scratch {
  /// Installs a program `nbdkit` in `bin` that finds the plugin of this build by its name.
  func installPlugin() throws {
    let nbdkit = try sh("command -v nbdkit").lines.first ?? "nbdkit"
    try makeDirectory("bin")
    try write(
      """
      #!/bin/bash
      words=()
      for word in "$@"; do
        [ "$word" != vma ] || word='\(Plugin.path)'
        words+=("$word")
      done
      exec '\(nbdkit)' "${words[@]}"

      """, to: "bin/nbdkit")
    try sh("chmod +x bin/nbdkit").succeeds()
  }

  /// Runs a script in which `nbdkit vma` works.
  func shWithPlugin(
    _ script: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try sh("PATH=$PWD/bin:$PATH\n" + script, sourceLocation: sourceLocation)
  }
}
