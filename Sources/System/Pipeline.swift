// SPDX-License-Identifier: Apache-2.0

import SystemPackage

/// The processes that read, through pipes, what this one writes to standard output.
package enum Pipeline {
  /// Whether one of them is one of these programs, as far as /proc shows other processes.
  package static func hasLater(of programs: Set<String>) -> Bool {
    guard var output = pipe("/proc/self/fd/1") else { return false }
    let processes = Host.names(in: "/proc").filter { Int32($0) != nil }
    var readers: [[UInt64]: [String]] = [:]
    for process in processes {
      if let input = pipe("/proc/\(process)/fd/0") { readers[input, default: []].append(process) }
    }
    var seen: Set<[UInt64]> = []
    while seen.insert(output).inserted, let next = readers[output] {
      if next.contains(where: { programs.contains(name(ofProcess: $0)) }) { return true }
      // Such as `pv` between two of them.
      guard let further = next.lazy.compactMap({ pipe("/proc/\($0)/fd/1") }).first else { break }
      output = further
    }
    return false
  }

  /// The identity of a pipe; nil for other files, and for those of other users.
  private static func pipe(_ path: String) -> [UInt64]? {
    guard let status = try? Descriptor.status(of: FilePath(path)), status.kind == .fifo else {
      return nil
    }
    return status.identity
  }

  private static func name(ofProcess process: String) -> String {
    guard
      let text = try? Descriptor.open(FilePath("/proc/\(process)/comm"), .read)
        .contents(atMost: 64)
    else { return "" }
    return String(decoding: text, as: UTF8.self).split(separator: "\n").first.map(String.init) ?? ""
  }
}
