// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser

/// The options of a tool that may have to buffer data.
package struct BufferOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Buffer data in DIR (default: $TMPDIR, then /var/tmp).", valueName: "DIR"),
    completion: .directory)
  package var tmpdir: String?

  package init() {}
}
