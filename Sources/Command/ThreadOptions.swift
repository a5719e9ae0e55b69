// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser
import System

/// The option of a tool that compresses or decompresses with several threads.
package struct ThreadOptions: ParsableArguments {
  @Option(
    name: [.customShort("T", allowingJoined: true), .long],
    help: ArgumentHelp("Use N threads for zstd (default: 0, all cores).", valueName: "N"))
  package var threads: Int?

  package init() {}

  package func validate() throws {
    guard (0...256).contains(threads ?? 0) else {
      throw ValidationError("--threads must be 0 to 256")
    }
  }

  /// The number of threads, at least 1.
  package var count: Int {
    guard let threads, threads > 0 else { return Host.processorCount }
    return threads
  }
}
