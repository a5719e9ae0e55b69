// SPDX-License-Identifier: Apache-2.0

import DequeModule
package import FoundationEssentials

/// Removes the jobs and the nodes of one run from QEMU, one command after the other.
///
/// It does no input and output of its own: its user executes each command and hands the answer
/// over. No command asks for more than the jobs, so that a QEMU with long backing chains, which
/// needs seconds to list its nodes, is not kept from running its guest.
package struct Removal {
  package enum Step {
    case execute(String, JSON?)
    /// Something is on its way; the next step comes this much later.
    case wait(milliseconds: UInt32)
    /// Nothing is left.
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

  /// What to do next; the answer to a command goes to `receive`.
  package mutating func next() -> Step {
    if let command = commands.popLast() {
      question = .job
      return .execute(command.name, ["id": .string(command.job)])
    }
    if waits {
      waits = false
      // Nothing here takes long, as a rule; where it does, asking often makes it longer.
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

  /// How often QEMU may refuse to remove a node before it is asked whether there is one.
  private static let patience = 5

  /// - Throws: where the answer is not what the command returns.
  package mutating func receive(_ answer: Result<Data, QMPError>) throws {
    switch question {
    case .listing:
      let states = try QMPReply.value(of: answer.get(), [JobState].self)
        .filter { jobs.contains($0.id) }
      // A job on its way to its end refuses either; the next listing will show it there.
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

  /// Executes all of it, waiting for what is on its way.
  ///
  /// - Parameter wait: waits so many milliseconds; it can throw to give up.
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
