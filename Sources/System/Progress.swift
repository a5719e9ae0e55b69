// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// How far a run is: fed by those who move bytes, shown on a terminal and on SIGUSR1.
package final class Progress: Sendable {
  /// The one run of this process.
  package static let current = Progress()

  private let done = Atomic<UInt64>(0)
  private let total = Atomic<UInt64>(0)
  private let start = Host.uptime

  /// Sets what `add` counts up to, in bytes; without it no share and no remaining time are shown.
  package func expect(_ bytes: UInt64) {
    total.store(bytes, ordering: .relaxed)
  }

  /// Counts anew, up to this: what was done before was only preparation.
  package func restart(expecting bytes: UInt64) {
    done.store(0, ordering: .relaxed)
    expect(bytes)
  }

  package func add(_ bytes: UInt64) {
    done.wrappingAdd(bytes, ordering: .relaxed)
  }

  /// Seconds since the run began.
  package var elapsed: Double { Host.uptime - start }

  /// `1.20 GiB of 4.00 GiB (30 %), 512 MiB/s, 0:05 left`
  package var line: String {
    let done = done.load(ordering: .relaxed)
    let total = total.load(ordering: .relaxed)
    let rate = Double(done) / max(elapsed, 0.001)
    var line = ByteCount(done).description
    if total > 0 {
      line += " of \(ByteCount(total)) (\(min(100, Int(Double(done) / Double(total) * 100))) %)"
    }
    line += ", \(ByteCount(UInt64(rate)))/s"
    if total > done, rate >= 1 {
      line += ", \(Self.clock(Double(total - done) / rate)) left"
    }
    return line
  }

  private static func clock(_ seconds: Double) -> String {
    let seconds = Int(min(seconds, 1e9))
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return seconds < 3600
      ? "\(seconds / 60):\(two(seconds % 60))"
      : "\(seconds / 3600):\(two(seconds / 60 % 60)):\(two(seconds % 60))"
  }

  /// The rate at which `bytes` went by in this run, for a summary.
  package func rate(of bytes: UInt64) -> String {
    "\(ByteCount(UInt64(Double(bytes) / max(elapsed, 0.001))))/s"
  }
}
