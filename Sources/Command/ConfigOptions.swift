// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser

/// The options of a tool that includes configuration files.
package struct ConfigOptions: ParsableArguments {
  @Option(
    name: [.customShort("c", allowingJoined: true), .long],
    help: ArgumentHelp("Include FILE as configuration file NAME.", valueName: "[NAME=]FILE"),
    completion: .namedFile)
  package var config: [String] = []

  package init() {}
}
