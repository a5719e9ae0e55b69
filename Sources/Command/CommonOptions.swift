// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser

/// The options that all tools have.
package struct CommonOptions: ParsableArguments {
  @Flag(name: .shortAndLong, help: "Say nothing but errors.")
  package var quiet = false

  @Flag(name: .shortAndLong, help: "Sum up at the end what was done.")
  package var verbose = false

  @Option(
    help: ArgumentHelp(
      "When to show progress; auto is on a terminal.", valueName: "when"))
  package var progress: ProgressMode = .auto

  package init() {}

  package func validate() throws {
    guard !quiet || !verbose else {
      throw ValidationError("--quiet and --verbose cannot be combined")
    }
  }
}
