// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// How far a run is: fed by those who move bytes, shown on standard error.
package final class Progress: Sendable {
  /// The one run of this process.
  package static let current = Progress()

  private let done = Atomic<UInt64>(0)
  private let total = Atomic<UInt64>(0)
  private let countsDisks = Atomic(false)
  private let start = Host.uptime

  /// Sets the total, in bytes; without it, percentage and remaining time are not shown.
  package func expect(_ bytes: UInt64) {
    total.store(bytes, ordering: .relaxed)
  }

  /// Restarts counting with this total: the work before was only preparation.
  package func restart(expecting bytes: UInt64) {
    done.store(0, ordering: .relaxed)
    expect(bytes)
  }

  package func add(_ bytes: UInt64) {
    if !countsDisks.load(ordering: .relaxed) { done.wrappingAdd(bytes, ordering: .relaxed) }
  }

  /// Counts bytes of disks instead, up to this, if the size of the input is not known.
  package func expectDisks(_ bytes: UInt64) {
    guard total.load(ordering: .relaxed) == 0 else { return }
    countsDisks.store(true, ordering: .relaxed)
    restart(expecting: bytes)
  }

  package func addDisks(_ bytes: UInt64) {
    if countsDisks.load(ordering: .relaxed) { done.wrappingAdd(bytes, ordering: .relaxed) }
  }

  /// Seconds since the run began.
  package var elapsed: Double { Host.uptime - start }

  /// `30 %, 0:05 left, 512 MiB/s, 1.20 GiB of 4.00 GiB`: the most important parts come
  /// first, because a narrow terminal shows only the beginning.
  package func line(width: Int = .max) -> String {
    Self.line(
      done: done.load(ordering: .relaxed), of: total.load(ordering: .relaxed), after: elapsed,
      width: width)
  }

  package static func line(done: UInt64, of total: UInt64, after elapsed: Double, width: Int)
    -> String
  {
    let rate = Double(done) / max(elapsed, 0.001)
    var parts: [String] = []
    if total > 0 {
      parts.append("\(min(100, Int(Double(done) / Double(total) * 100))) %")
    }
    if total > done, rate >= 1 {
      parts.append("\(clock(Double(total - done) / rate)) left")
    }
    parts.append("\(ByteCount(UInt64(rate)))/s")
    parts.append(
      total > 0 ? "\(ByteCount(min(done, total))) of \(ByteCount(total))" : "\(ByteCount(done))")
    var line = parts.removeFirst()
    for part in parts where line.count + 2 + part.count <= width { line += ", " + part }
    return line
  }

  private static func clock(_ seconds: Double) -> String {
    let seconds = Int(min(seconds, 1e9))
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return seconds < 3600
      ? "\(seconds / 60):\(two(seconds % 60))"
      : "\(seconds / 3600):\(two(seconds / 60 % 60)):\(two(seconds % 60))"
  }

  /// The rate of `bytes` over this run, for a summary.
  package func rate(of bytes: UInt64) -> String {
    "\(ByteCount(UInt64(Double(bytes) / max(elapsed, 0.001))))/s"
  }
}
