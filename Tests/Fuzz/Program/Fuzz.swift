// SPDX-License-Identifier: Apache-2.0

import FuzzTargets
import Glibc

/// libFuzzer, with a main function of its own.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
  _ count: UnsafeMutablePointer<Int32>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

/// `fuzz TARGET`, and then the arguments of libFuzzer.
@main
struct Fuzz {
  nonisolated(unsafe) private static var target = Target.header

  static func main() {
    let names = Target.all.map(\.name).joined(separator: " ")
    guard CommandLine.argc > 1, let target = Target.named(CommandLine.arguments[1]) else {
      print("usage: fuzz TARGET [argument of libFuzzer]...\ntargets: \(names)")
      exit(64)
    }
    self.target = target
    var count = CommandLine.argc - 1
    var arguments = CommandLine.unsafeArgv + 1
    exit(
      runFuzzer(&count, &arguments) { start, count in
        do {
          try Fuzz.target.run(Array(UnsafeBufferPointer(start: start, count: count)))
        } catch {
          fatalError("\(error)")
        }
        return 0
      })
  }
}
