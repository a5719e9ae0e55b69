// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite(
  "The cost of a backup for each cluster that the guest writes", .serialized,
  requires("qemu-storage-daemon", .pythonNBD, "nbdkit", .tracing))
struct CountTests {
  /// The number of clusters read and written, in all files by all processes.
  private struct Counts: Decodable {
    /// For the guest's first write to a cluster, including writes of the archive.
    var first: [Double]
    /// For its second write to the same cluster.
    var second: [Double]
    /// For background copying of the same cluster.
    var backup: [Double]
    /// The number of calls for the first write and the backup, of any size.
    var requests: [Double]
  }

  private func expect(_ way: String, first: [Double]) throws {
    let machine = try Machine()
    let run = try machine.sh(
      "\(Programs.python) \(Programs.benchmarks)/io --json \(Programs.tools) \(way)")
    try #require(run.status == 0, "\(run.errors)")
    let found = try JSONDecoder().decode([String: Counts].self, from: Data(run.output.utf8))
    let counts = try #require(found[way])
    #expect(counts.first == first)
    #expect(counts.second == [0, 1])
    #expect(counts.backup == [0, 0])
    // There are none for any other storage.
    #expect(counts.requests == first)
  }

  @Test func `without a backup, one write`() throws { try expect("none", first: [0, 1]) }

  @Test(arguments: ["tap", "example"])
  func `one read and two writes`(way: String) throws { try expect(way, first: [1, 2]) }
}
