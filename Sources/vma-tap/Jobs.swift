// SPDX-License-Identifier: Apache-2.0

import System

/// A job as QEMU lists it.
package struct JobState: Decodable {
  package var id: String
  var status: String
  var error: String?
  var isConcluded: Bool { status == "concluded" }
}

/// The jobs and nodes of one run in QEMU. Their names are unique to the run, so that another
/// connection, or an administrator, can find them.
struct Jobs {
  /// The common prefix of the names of all runs.
  static let family = "vmatap-"

  /// Small requests, and few: a guest write may have to wait for them. Half a megabyte; the default
  /// is 64 MiB.
  private static let performance: JSON = ["max-workers": 2, "max-chunk": 262144]

  let disks: [Disk]
  /// The prefix of the names of this run.
  let prefix: String

  init(_ disks: [Disk]) {
    self.disks = disks
    // The name of a node has at most 31 characters.
    let random = String(UInt32.random(in: .min ... .max), radix: 36)
    prefix = "\(Self.family)\(Host.processID)-\(random)-"
  }

  func jobID(_ index: Int) -> String { "\(prefix)j\(index + 1)" }
  private func nodeName(_ index: Int) -> String { "\(prefix)n\(index + 1)" }
  /// The name of a disk on the socket.
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
          // Zeros are sent as a command instead of as data.
          "detect-zeroes": "on",
          // If the worker process dies, requests wait for the guard to answer them.
          "reconnect-delay": 10,
        ])
    }
  }

  /// Starts the backup of all disks at the same point in time.
  func start(_ client: QMPClient, schema: Schema, _ link: GuardLink) throws {
    let breaksSnapshot = schema.has("on-cbw-error", in: "blockdev-backup")
    let hasLimits = schema.has("x-perf", in: "blockdev-backup")
    let actions = disks.enumerated().map { index, disk -> JSON in
      var job: [String: JSON] = [
        "job-id": .string(jobID(index)), "device": .string(disk.device),
        "target": .string(nodeName(index)), "sync": "full",
        // A job that has ended remains until its end has been seen.
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

  /// Pauses or continues background copying; guest writes are copied in any case.
  func pause(_ client: QMPClient, _ isPausing: Bool) throws {
    for index in disks.indices {
      do {
        try client.execute(isPausing ? "job-pause" : "job-resume", ["id": .string(jobID(index))])
      } catch is QMPError {
        // A job at its end cannot be paused, and does not need to be.
      }
    }
  }

  /// All names, for messages.
  var names: String {
    (disks.indices.map(jobID) + disks.indices.map(nodeName)).joined(separator: ", ")
  }

  /// Removes everything of this run from QEMU.
  var removal: Removal {
    Removal(jobs: disks.indices.map(jobID), nodes: disks.indices.map(nodeName))
  }
}
