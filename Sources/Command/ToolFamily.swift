// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import System

/// All tools in one program, `vma-tools`: it acts as the tool whose name it is called by.
package enum ToolFamily {
  package static func main(_ tools: [any Filter.Type]) {
    let path = CommandLine.arguments.first ?? ""
    let name = path.split(separator: "/").last ?? ""
    if let tool = tools.first(where: { $0.configuration.commandName == String(name) }) {
      return tool.main()
    }
    Host.occupyStandardDescriptors()
    Console.start(tool: "vma-tools")
    guard !CommandLine.arguments.isEmpty else {
      Console.error("cannot read the command line (is /proc mounted?)")
      Console.exit(Failure.Status.general.rawValue)
    }
    switch CommandLine.arguments.dropFirst() {
    case ["--version"]: write("vma-tools \(toolsVersion)\n")
    case ["-h"], ["--help"]: write(help(tools))
    default:
      let names = tools.compactMap { $0.configuration.commandName }.joined(separator: ", ")
      Console.error("not called by the name of a tool (available: \(names); see --help)")
      Console.exit(Failure.Status.usage.rawValue)
    }
  }

  private static func help(_ tools: [any Filter.Type]) -> String {
    var text = """
      OVERVIEW: Unix filters for VMA, the Virtual Machine Archive.

      This program is one of the tools below, depending on the name it is called by.
      Each has its own --help and manual page.

      TOOLS:

      """
    for configuration in tools.map({ $0.configuration }) {
      text += "  \(configuration.commandName ?? "")\n      \(configuration.abstract)\n"
    }
    return text
  }

  private static func write(_ text: String) {
    do {
      try Descriptor.standardOutput.write(Array(text.utf8))
      try Descriptor.closeStandardOutput()
      Console.exit(0)
    } catch {
      Console.error(error.message)
      Console.exit(error.status.rawValue)
    }
  }
}
