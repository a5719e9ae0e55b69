// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser

/// The options that all tools have.
package struct CommonOptions: ParsableArguments {
  @Flag(name: .shortAndLong, help: "Print only errors.")
  package var quiet = false

  @Flag(name: .shortAndLong, help: "Print a summary when done.")
  package var verbose = false

  @Option(
    help: ArgumentHelp(
      "Show progress; auto: if standard error is a terminal.", valueName: "WHEN"))
  package var progress: ProgressMode = .auto

  package init() {}

  package func validate() throws {
    guard !quiet || !verbose else {
      throw ValidationError("--quiet and --verbose cannot be combined")
    }
  }
}
