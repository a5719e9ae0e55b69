// SPDX-License-Identifier: Apache-2.0

import FuzzTargets
import Glibc

/// The target is named by the environment: libFuzzer has the arguments to itself.
private let target: Target = {
  let name = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
  guard let target = Target.named(name) else {
    fatalError("FUZZ_TARGET is not one of \(Target.all.map(\.name))")
  }
  return target
}()

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  do {
    try target.run(Array(UnsafeBufferPointer(start: start, count: count)))
  } catch {
    fatalError("\(target.name): \(error)")
  }
  return 0
}
