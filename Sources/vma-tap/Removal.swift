// SPDX-License-Identifier: Apache-2.0

import DequeModule
package import FoundationEssentials

/// Removes the jobs and the nodes of one run from QEMU, one command after the other.
///
/// It does no I/O of its own: its caller executes each command and passes the answer on. No command
/// lists more than the jobs: a QEMU with long backing chains needs seconds to list its nodes, and
/// its guest stops meanwhile.
package struct Removal {
  package enum Step {
    case execute(String, JSON?)
    /// Something is in progress; the next step follows after this time.
    case wait(milliseconds: UInt32)
    /// Nothing remains.
    case done
  }

  private enum Question { case listing, job, node, search }

  private struct Node: Decodable {
    var nodeName: String?
    enum CodingKeys: String, CodingKey { case nodeName = "node-name" }
  }

  private let jobs: Set<String>
  private var nodes: Deque<String>
  private var areJobsGone = false
  /// Commands that end the jobs of the last listing.
  private var commands: [(name: String, job: String)] = []
  private var question = Question.listing
  private var waits = false
  private var delay: UInt32 = 1
  private var failureCount = 0

  package init(jobs: [String], nodes: [String]) {
    self.jobs = Set(jobs)
    self.nodes = Deque(nodes)
  }

  /// The next step; pass the answer to a command to `receive`.
  package mutating func next() -> Step {
    if let command = commands.popLast() {
      question = .job
      return .execute(command.name, ["id": .string(command.job)])
    }
    if waits {
      waits = false
      // Usually nothing here takes long; if it does, polling often makes it longer.
      defer { delay = min(delay * 2, 500) }
      return .wait(milliseconds: delay)
    }
    guard areJobsGone else {
      question = .listing
      return .execute("query-jobs", nil)
    }
    guard let node = nodes.first else { return .done }
    if failureCount == Self.patience {
      failureCount = 0
      question = .search
      return .execute("query-named-block-nodes", ["flat": .bool(true)])
    }
    question = .node
    return .execute("blockdev-del", ["node-name": .string(node)])
  }

  /// How often QEMU may refuse to remove a node before its existence is checked.
  private static let patience = 5

  /// - Throws: if the answer is not what the command returns.
  package mutating func receive(_ answer: Result<Data, QMPError>) throws {
    switch question {
    case .listing:
      let states = try QMPReply.value(of: answer.get(), [JobState].self)
        .filter { jobs.contains($0.id) }
      // A job that is ending refuses both; the next list will still contain it.
      commands = states.map { ($0.isConcluded ? "job-dismiss" : "job-cancel", $0.id) }
      areJobsGone = states.isEmpty
      waits = !areJobsGone
      if areJobsGone { delay = 1 }
    case .job: break
    case .node:
      if case .failure(let error) = answer, !error.desc.hasPrefix("Failed to find node") {
        // It is in use until QEMU has ended its requests.
        failureCount += 1
        waits = true
      } else {
        removeFirstNode()
      }
    case .search:
      let found = try QMPReply.value(of: answer.get(), [Node].self).compactMap(\.nodeName)
      nodes.removeAll { !found.contains($0) }
    }
  }

  private mutating func removeFirstNode() {
    nodes.removeFirst()
    failureCount = 0
    delay = 1
  }

  /// Executes all steps, and waits for those in progress.
  ///
  /// - Parameter wait: waits this many milliseconds; it can throw to stop.
  mutating func run(_ client: QMPClient, wait: (UInt32) throws -> Void) throws {
    while true {
      switch next() {
      case .execute(let command, let arguments):
        try receive(client.answer(to: command, arguments))
      case .wait(let milliseconds): try wait(milliseconds)
      case .done: return
      }
    }
  }
}
