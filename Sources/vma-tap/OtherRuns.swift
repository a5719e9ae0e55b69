// SPDX-License-Identifier: Apache-2.0

import Command
import Files
import System
import SystemPackage

/// What other runs of vma-tap have in QEMU: backups in progress, and what killed runs left.
struct OtherRuns {
  private struct Run {
    var jobs: [JobState] = []
    var nodes: [String] = []
    /// The socket that the nodes use, if there are any.
    var socket: FilePath?
  }

  private enum State {
    case alive
    /// Its socket refuses connections: its processes have exited.
    case dead
    /// The socket cannot be reached from here, which proves nothing: its run may have another
    /// `/tmp`.
    case unknown(String)
  }

  /// Seconds that a run has to dismiss its own concluded job.
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

  /// `vmatap-4711-q9x2-j1` and `vmatap-4711-q9x2-n1` belong to the same run.
  private static func prefix(of name: String) -> String? {
    guard name.hasPrefix(Jobs.family), let end = name.lastIndex(of: "-"),
      name.distance(from: name.startIndex, to: end) >= Jobs.family.count
    else { return nil }
    return String(name[...end])
  }

  /// Removes from QEMU what killed runs left.
  ///
  /// A job of such a run may remain paused without any sign, while each guest write to an area that
  /// it has not copied fails.
  ///
  /// - Returns: whether anything was removed.
  /// - Throws: status 66 if a job may belong to a run that is alive.
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
        // Nodes without a job are harmless, and may belong to a run that is about to start.
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
      // It opens no export; the other side ignores such a client.
      _ = try Descriptor.connect(to: socket, milliseconds: 1000)
      return .alive
    } catch {
      switch error {
      case .connectionRefused: return .dead
      // It listens, and has a queue of clients.
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

  /// Waits until concluded jobs are dismissed, by their own run if it is alive.
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
