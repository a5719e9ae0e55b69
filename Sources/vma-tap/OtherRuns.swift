// SPDX-License-Identifier: Apache-2.0

import Command
import Files
import System
import SystemPackage

/// What other runs of vma-tap have in QEMU: backups that are made just now, and what killed runs
/// have left.
struct OtherRuns {
  private struct Run {
    var jobs: [JobState] = []
    var nodes: [String] = []
    /// Where the nodes lead, if there are any.
    var socket: FilePath?
  }

  private enum State {
    case alive
    /// Its socket refuses connections: its processes have ended.
    case dead
    /// The socket cannot be reached from here, which says nothing: its run may see another `/tmp`.
    case unknown(String)
  }

  /// Seconds that a run has to dismiss its own job, when this has concluded.
  private static let grace = 2.0
  /// Seconds that QEMU has to end a job.
  private static let limit = 30.0

  private let runs: [(prefix: String, run: Run)]

  init(_ client: QMPClient, _ nodes: [BlockNode]) throws {
    var runs: [String: Run] = [:]
    for job in try client.execute("query-jobs", returning: [JobState].self) {
      if let prefix = Self.prefix(of: job.id) { runs[prefix, default: Run()].jobs.append(job) }
    }
    for node in nodes {
      guard let name = node.name, let prefix = Self.prefix(of: name) else { continue }
      runs[prefix, default: Run()].nodes.append(name)
      // `nbd+unix:///disk1?socket=/tmp/vma-tap-a1b2c3/nbd`
      let words = node.file.split(separator: "?socket=", maxSplits: 1)
      if words.count == 2 { runs[prefix]?.socket = FilePath(String(words[1])) }
    }
    self.runs = runs.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  /// `vmatap-4711-q9x2-j1` and `vmatap-4711-q9x2-n1` are of the same run.
  private static func prefix(of name: String) -> String? {
    guard name.hasPrefix(Jobs.family), let end = name.lastIndex(of: "-"),
      name.distance(from: name.startIndex, to: end) >= Jobs.family.count
    else { return nil }
    return String(name[...end])
  }

  /// Removes from QEMU what killed runs have left.
  ///
  /// A job of such a run may stand paused without noticing, while each write of the guest to a place
  /// that it has not copied fails.
  ///
  /// - Returns: whether there was something.
  /// - Throws: status 66 where a job may be of a run that is alive, or not.
  func removeDead(_ client: QMPClient) throws -> Bool {
    var hasRemoved = false
    for (prefix, run) in runs {
      switch Self.state(of: run) {
      case .alive: continue
      case .dead:
        Console.warn("canceling a backup in QEMU that a killed vma-tap left")
        try Self.remove(run, client)
        if let socket = run.socket {
          PrivateDirectory.removeRemains(of: socket, prefix: Guard.directoryPrefix)
        }
      case .unknown(let reason):
        // Nodes without a job harm nobody, and may be of a run that is about to start.
        guard !run.jobs.isEmpty else { continue }
        try Self.dismiss(prefix, reason, client)
        try Self.remove(run, client)
      }
      hasRemoved = true
    }
    return hasRemoved
  }

  private static func state(of run: Run) -> State {
    guard let socket = run.socket else { return .unknown("its socket is unknown") }
    do {
      // It names no export, which the other side takes for what it is.
      _ = try Descriptor.connect(to: socket, milliseconds: 1000)
      return .alive
    } catch {
      switch error {
      case .connectionRefused: return .dead
      // It listens, and many have called.
      case .resourceTemporarilyUnavailable: return .alive
      default: return .unknown("\(socket): \(error)")
      }
    }
  }

  private static func remove(_ run: Run, _ client: QMPClient) throws {
    var removal = Removal(jobs: run.jobs.map(\.id), nodes: run.nodes)
    let end = Host.uptime + limit
    try removal.run(client) {
      guard Host.uptime < end else {
        throw Failure(
          .noInput,
          "QEMU does not cancel the backup that a killed vma-tap left: "
            + (run.jobs.map(\.id) + run.nodes).joined(separator: ", "))
      }
      Host.sleep(milliseconds: $0)
    }
  }

  /// Lets concluded jobs be dismissed, by their own run if it lives.
  private static func dismiss(_ prefix: String, _ reason: String, _ client: QMPClient) throws {
    let end = Host.uptime + grace
    while true {
      let jobs = try client.execute("query-jobs", returning: [JobState].self)
        .filter { $0.id.hasPrefix(prefix) }
      if jobs.isEmpty { return }
      if let job = jobs.first(where: { !$0.isConcluded }) {
        throw Failure(
          .noInput,
          "\(job.id): another vma-tap may be using this job (\(reason)); if it is not, "
            + #"end the job with {"execute":"job-cancel","arguments":{"id":"\#(job.id)"}}"#)
      }
      if Host.uptime > end { return }
      Host.sleep(milliseconds: 100)
    }
  }
}
