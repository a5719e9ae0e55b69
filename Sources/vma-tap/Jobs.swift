// SPDX-License-Identifier: Apache-2.0

import FilterIO
import SystemPackage

/// The jobs and nodes that one run has in QEMU, all with a name that no other run has, so that they
/// can be found again over another connection, and by a person.
struct Jobs {
  struct State: Decodable {
    var id: String
    var status: String
    var error: String?
    var isConcluded: Bool { status == "concluded" }
  }

  private struct Node: Decodable {
    var nodeName: String?
    /// Of one of ours: `nbd+unix:///disk1?socket=/tmp/vma-tap-a1b2c3/nbd`.
    var file: String
    enum CodingKeys: String, CodingKey {
      case nodeName = "node-name"
      case file
    }
  }

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

  private init(prefix: String) {
    disks = []
    self.prefix = prefix
  }

  /// Takes out of QEMU what runs that were killed have left.
  ///
  /// A job of such a run may stand paused, not noticing, while each write of the guest to a place
  /// that it has not copied fails.
  static func clearDead(_ client: QMPClient) throws {
    for jobs in try dead(client) {
      Console.warn("a run that was killed has left a backup in QEMU; it is cancelled")
      let limit = Host.uptime + 10
      while try !jobs.clear(client), Host.uptime < limit { Host.sleep(milliseconds: 10) }
    }
  }

  /// The runs that were killed: nobody listens any more where their nodes lead.
  private static func dead(_ client: QMPClient) throws -> [Jobs] {
    let nodes = try client.execute("query-named-block-nodes", returning: [Node].self)
    let prefixes = nodes.compactMap { node -> String? in
      guard let name = node.nodeName, name.hasPrefix(family), let end = name.lastIndex(of: "-"),
        node.file.contains("?socket="),
        let path = node.file.split(separator: "?socket=").last, isDead(FilePath(String(path)))
      else { return nil }
      return String(name[...end])
    }
    return Set(prefixes).map { Jobs(prefix: $0) }
  }

  private static func isDead(_ socket: FilePath) -> Bool {
    do {
      _ = try Descriptor.connect(to: socket)
      return false
    } catch {
      return error == .connectionRefused || error == .noSuchFileOrDirectory
    }
  }

  func jobID(_ index: Int) -> String { "\(prefix)j\(index + 1)" }
  private func nodeName(_ index: Int) -> String { "\(prefix)n\(index + 1)" }
  /// What a disk is called on the socket.
  static func exportName(_ index: Int) -> String { "disk\(index + 1)" }

  /// Makes QEMU a client of the server, for each disk.
  func addNodes(_ client: QMPClient, serverPath: String) throws {
    for index in disks.indices {
      try client.execute(
        "blockdev-add",
        [
          "driver": "nbd", "node-name": .string(nodeName(index)),
          "server": ["type": "unix", "path": .string(serverPath)],
          "export": .string(Self.exportName(index)),
          // Zeros come as a word instead of as data.
          "detect-zeroes": "on",
        ])
    }
  }

  /// Starts the backup of all disks, of one instant.
  func start(_ client: QMPClient, schema: Schema?) throws {
    let knowsFailing = schema?.has("on-cbw-error", in: "blockdev-backup") ?? false
    let knowsPerformance = schema?.has("x-perf", in: "blockdev-backup") ?? true
    do {
      try start(
        client, breaksSnapshot: knowsFailing, limits: knowsPerformance ? Self.performance : nil)
    } catch let error as QMPError where knowsPerformance && error.desc.contains("x-perf") {
      try start(client, breaksSnapshot: knowsFailing, limits: nil)
    }
  }

  private func start(_ client: QMPClient, breaksSnapshot: Bool, limits: JSON?) throws {
    let actions = disks.enumerated().map { index, disk -> JSON in
      var job: [String: JSON] = [
        "job-id": .string(jobID(index)), "device": .string(disk.device),
        "target": .string(nodeName(index)), "sync": "full",
        // A job that has ended stays until its end has been seen.
        "auto-dismiss": false,
      ]
      job["x-perf"] = limits
      // QEMU 10.1: a copy that fails ends the backup, and not the guest's write.
      if breaksSnapshot { job["on-cbw-error"] = "break-snapshot" }
      return ["type": "blockdev-backup", "data": .object(job)]
    }
    try client.execute(
      "transaction",
      ["actions": .array(actions), "properties": ["completion-mode": "grouped"]])
  }

  /// Those of the jobs that QEMU still knows.
  func states(_ client: QMPClient) throws -> [State] {
    try client.execute("query-jobs", returning: [State].self).filter { $0.id.hasPrefix(prefix) }
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

  /// Takes one step towards nothing being left.
  ///
  /// - Returns: whether nothing is.
  func clear(_ client: QMPClient) throws -> Bool {
    let nodes = try client.execute("query-named-block-nodes", returning: [Node].self)
      .compactMap(\.nodeName).filter { $0.hasPrefix(prefix + "n") }
    let states = try states(client)
    for state in states {
      // A job on its way to its end refuses either; the next step will find it there.
      try client.attempt(
        state.isConcluded ? "job-dismiss" : "job-cancel", ["id": .string(state.id)])
    }
    guard states.isEmpty else { return false }
    // Last: it is these that lead to a run that was killed.
    for node in nodes { try client.attempt("blockdev-del", ["node-name": .string(node)]) }
    return nodes.isEmpty
  }
}
