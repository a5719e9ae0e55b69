// SPDX-License-Identifier: Apache-2.0

import System

/// A job as QEMU lists it.
package struct JobState: Decodable {
  package var id: String
  var status: String
  var error: String?
  var isConcluded: Bool { status == "concluded" }
}

/// The jobs and nodes that one run has in QEMU, all with a name that no other run has, so that they
/// can be found again over another connection, and by a person.
struct Jobs {
  /// What the names of all runs begin with.
  static let family = "vmatap-"

  /// Small requests, and few: what a write of the guest may have to wait behind. Half a megabyte,
  /// where the default is 64 MiB.
  private static let performance: JSON = ["max-workers": 2, "max-chunk": 262144]

  let disks: [Disk]
  /// What the names of this run begin with.
  let prefix: String

  init(_ disks: [Disk]) {
    self.disks = disks
    // A name of a node has 31 characters at most.
    let random = String(UInt32.random(in: .min ... .max), radix: 36)
    prefix = "\(Self.family)\(Host.processID)-\(random)-"
  }

  func jobID(_ index: Int) -> String { "\(prefix)j\(index + 1)" }
  private func nodeName(_ index: Int) -> String { "\(prefix)n\(index + 1)" }
  /// What a disk is called on the socket.
  static func exportName(_ index: Int) -> String { "disk\(index + 1)" }

  /// Makes QEMU a client of the server, for each disk.
  func addNodes(_ client: QMPClient, serverPath: String, _ link: GuardLink) throws {
    for index in disks.indices {
      try link.tell(.node(nodeName(index)))
      try client.execute(
        "blockdev-add",
        [
          "driver": "nbd", "node-name": .string(nodeName(index)),
          "server": ["type": "unix", "path": .string(serverPath)],
          "export": .string(Self.exportName(index)),
          // Zeros come as a word instead of as data.
          "detect-zeroes": "on",
          // Where the worker process dies, requests wait for the guard to answer them.
          "reconnect-delay": 10,
        ])
    }
  }

  /// Starts the backup of all disks, of one instant.
  func start(_ client: QMPClient, schema: Schema, _ link: GuardLink) throws {
    let breaksSnapshot = schema.has("on-cbw-error", in: "blockdev-backup")
    let hasLimits = schema.has("x-perf", in: "blockdev-backup")
    let actions = disks.enumerated().map { index, disk -> JSON in
      var job: [String: JSON] = [
        "job-id": .string(jobID(index)), "device": .string(disk.device),
        "target": .string(nodeName(index)), "sync": "full",
        // A job that has ended stays until its end has been seen.
        "auto-dismiss": false,
      ]
      if hasLimits { job["x-perf"] = Self.performance }
      // QEMU 10.1: a copy that fails ends the backup, and not the guest's write.
      if breaksSnapshot { job["on-cbw-error"] = "break-snapshot" }
      return ["type": "blockdev-backup", "data": .object(job)]
    }
    for index in disks.indices { try link.tell(.job(jobID(index))) }
    try client.execute(
      "transaction",
      ["actions": .array(actions), "properties": ["completion-mode": "grouped"]])
  }

  /// Those of the jobs that QEMU still knows.
  func states(_ client: QMPClient) throws -> [JobState] {
    try client.execute("query-jobs", returning: [JobState].self).filter { $0.id.hasPrefix(prefix) }
  }

  /// Stops or continues the copying in the background; guest writes are copied all the while.
  func pause(_ client: QMPClient, _ isPausing: Bool) throws {
    for index in disks.indices {
      do {
        try client.execute(isPausing ? "job-pause" : "job-resume", ["id": .string(jobID(index))])
      } catch is QMPError {
        // One that is at its end cannot be paused, and need not be.
      }
    }
  }

  /// All names, for messages.
  var names: String {
    (disks.indices.map(jobID) + disks.indices.map(nodeName)).joined(separator: ", ")
  }

  /// What removes all of this run from QEMU.
  var removal: Removal {
    Removal(jobs: disks.indices.map(jobID), nodes: disks.indices.map(nodeName))
  }
}
