// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser

/// The options of a tool that reads an archive with an index file.
package struct IndexOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Index of the archive (default: ARCHIVE.idx, if it exists).", valueName: "FILE"),
    completion: .file())
  package var indexFile: String?

  package init() {}
}
