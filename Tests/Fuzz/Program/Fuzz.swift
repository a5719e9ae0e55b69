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

/// The environment names the target, because libFuzzer restarts itself with its own arguments.
@main
struct Fuzz {
  private static let name = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
  private static let target = Target.named(name)

  static func main() {
    guard target != nil else {
      print("set FUZZ_TARGET to one of:\n" + Target.all.map(\.name).joined(separator: " "))
      exit(64)
    }
    var count = CommandLine.argc
    var arguments = CommandLine.unsafeArgv
    exit(
      runFuzzer(&count, &arguments) { start, count in
        do {
          try Fuzz.target?.run(Array(UnsafeBufferPointer(start: start, count: count)))
        } catch {
          fatalError("\(error)")
        }
        return 0
      })
  }
}
