// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser
import Files
import Glibc
import System

/// A tool of the family: options that configure parts, and a run.
package protocol Filter: ParsableCommand {
  var common: CommonOptions { get }
  /// Whether standard output may be a block device in use.
  var allowsDeviceInUse: Bool { get }
  /// Runs before there is any other thread, for a tool that becomes another process.
  func prepare() throws
  /// Does the work; a `Failure` gives the reason if it fails.
  func filter() throws
}

extension Filter {
  package var allowsDeviceInUse: Bool { false }
  package func prepare() {}

  /// Runs a tool from start to exit.
  package static func main() {
    Host.occupyStandardDescriptors()
    Host.useUTF8()
    Console.start(tool: configuration.commandName ?? "")
    do {
      try Host.raiseFileLimit()
      try Host.reserveMemory()
    } catch {
      end(failing: error)
    }
    // They would be changed silently, and a wrong file be written.
    guard Host.argumentsAreText else {
      end(failing: Failure(.usage, "an argument is not valid UTF-8"))
    }
    // They come from /proc: without it, all options would be ignored.
    guard !CommandLine.arguments.isEmpty else {
      end(failing: Failure(.general, "cannot read the command line (is /proc mounted?)"))
    }
    let command: Self
    do {
      let words = try OptionWords(of: Self.self).separate(Array(CommandLine.arguments.dropFirst()))
      if words.first == "--generate-completion-script",
        let shell = words.count == 2 ? CompletionShell(rawValue: words[1]) : .autodetected()
      {
        try writeCompletionScript(for: shell)
      }
      // A shell waits for the answer: SIGALRM ends the process if an archive or QEMU is slow.
      if words.first == "---completion" { alarm(2) }
      command = try parseAsRoot(words) as? Self ?? { throw CleanExit.helpRequest() }()
    } catch {
      end(parsing: error)
    }

    Console.start(tool: configuration.commandName ?? "", isQuiet: command.common.quiet)
    Cleanup.reportLeftovers(Console.warn)
    do {
      try command.prepare()
      try Signals.start(
        showing: ProgressDisplay(command.common.progress, isQuiet: command.common.quiet))
      try Console.startWriter()
      try Claims.standardStreams(mute: Console.mute)
      let reservation = try command.allowsDeviceInUse ? nil : Output.reserveStandardOutput()
      defer { withExtendedLifetime(reservation) {} }
      try command.filter()
      try Descriptor.closeStandardOutput()
      Console.clearStatus()
      Console.exit(0)
    } catch {
      Cleanup.run()
      if (error as? Failure)?.status == .inputOutput { Signals.dieOfBrokenPipe() }
      end(failing: error)
    }
  }

  private static func writeCompletionScript(for shell: CompletionShell) throws -> Never {
    guard let script = CompletionScript.generate(for: shell, Self.self) else {
      throw Failure(.general, "this version of ArgumentParser generates unknown completions")
    }
    do {
      try Descriptor.standardOutput.write(Array((script + "\n").utf8))
      Console.exit(0)
    } catch {
      end(failing: error)
    }
  }

  private static func end(failing error: any Error) -> Never {
    let failure = error as? Failure ?? Failure(.general, "\(error)")
    Console.error(failure.message)
    Console.exit(failure.status.rawValue)
  }

  /// Help, version and completions are written to standard output; a usage error is one line.
  private static func end(parsing error: any Error) -> Never {
    guard exitCode(for: error) != .success else {
      do {
        try Descriptor.standardOutput.write(Array((fullMessage(for: error) + "\n").utf8))
        Console.exit(0)
      } catch {
        end(failing: error)
      }
    }
    let words = message(for: error).split(whereSeparator: \.isNewline).map {
      $0.drop { $0 == " " }
    }
    Console.error(words.joined(separator: " ") + " (see --help)")
    Console.exit(Failure.Status.usage.rawValue)
  }
}
