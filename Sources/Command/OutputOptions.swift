// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser
package import Files
import System

/// The options of a tool that writes one output.
package struct OutputOptions: ParsableArguments {
  @Option(
    name: [.customShort("o", allowingJoined: true), .long],
    help: ArgumentHelp("Write to FILE; it appears only once complete.", valueName: "FILE"),
    completion: .file())
  package var output: String?

  @Flag(name: .shortAndLong, help: "Overwrite FILE if it exists; allow a device in use.")
  package var force = false

  package init() {}

  package func validate() throws {
    guard !force || output != nil else { throw ValidationError("--force requires --output") }
  }

  /// - Parameter size: bytes that will certainly be written.
  package func open(atLeast size: UInt64 = 0) throws -> Output {
    try Output.open(output, replaces: force, atLeast: size)
  }
}
