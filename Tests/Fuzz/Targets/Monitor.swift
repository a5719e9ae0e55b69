// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import TapTool

extension Target {
  /// The messages that vma-tap receives from QEMU's monitor, and from its own worker process.
  public static let qmp = Target(name: "qmp") { input in
    var choices = Choices(input)
    let chunk = 1 + Int(choices.byte())
    let isText = choices.byte() % 2 == 0
    let bytes = isText ? choices.rest() : tokens(choices.rest())

    let messages = split(bytes, chunk: chunk)
    try require(messages == split(bytes, chunk: max(bytes.count, 1)), "messages, however they come")
    try require(
      messages.reduce(0) { $0 + $1.count } <= bytes.count, "no more messages than bytes")
    for message in messages {
      // Unmatched brackets are only detected by decoding.
      try require(message.first == UInt8(ascii: "{"), "an object")
      try decode(message)
    }
    try remove(answers: messages)
    try checkCommand(String(decoding: bytes, as: UTF8.self))
    if let message = GuardMessage(bytes) {
      try require(
        GuardMessage(message.bytes)?.bytes == message.bytes, "what the worker process sends")
    }
  }

  /// Complete objects before the first invalid data.
  private static func split(_ bytes: [UInt8], chunk: Int) -> [Data] {
    var splitter = JSONSplitter()
    var messages: [Data] = []
    do {
      for start in stride(from: 0, to: bytes.count, by: chunk) {
        splitter.append(bytes[start..<min(start + chunk, bytes.count)].span)
        while let message = try splitter.next() { messages.append(message) }
      }
    } catch {
      _ = "\(error)"
    }
    return messages
  }

  /// Every part of a message that is used: it exists, or the monitor is considered lost.
  private static func decode(_ message: Data) throws {
    try refusing { _ = try QMPMessage(message) }
    try refusing {
      let schema = try QMPReply.value(of: message, Schema.self)
      _ = schema.has("x-perf", in: "blockdev-backup")
    }
    try refusing { _ = try QMPReply.value(of: message, [JobState].self) }
    try refusing { _ = try QMPReply.value(of: message, [BlockNode].self) }
    try refusing { _ = try QMPReply.value(of: message, GuestState.self) }
  }

  private static func refusing(_ body: () throws -> Void) throws {
    do { try body() } catch let lost as QMPLost { _ = lost.description }
  }

  /// Removes jobs and nodes from a QEMU with these answers, and changes no others.
  private static func remove(answers: [Data]) throws {
    let (jobs, nodes) = (["j1", "j2"], ["n1", "n2"])
    var removal = Removal(jobs: jobs, nodes: nodes)
    var answers = answers[...]
    while let answer = answers.first {
      switch removal.next() {
      case .execute(let command, let arguments):
        answers.removeFirst()
        switch (command, arguments) {
        case ("query-jobs", nil), ("query-named-block-nodes", .object?): break
        case ("job-cancel", .object(let members)?), ("job-dismiss", .object(let members)?):
          guard case .string(let id)? = members["id"] else { throw Violation(description: command) }
          try require(jobs.contains(id), "a foreign job: \(id)")
        case ("blockdev-del", .object(let members)?):
          guard case .string(let name)? = members["node-name"] else {
            throw Violation(description: command)
          }
          try require(nodes.contains(name), "a foreign node: \(name)")
        default: throw Violation(description: "a command of another kind: \(command)")
        }
        do {
          guard case .answer(_, let refusal) = try QMPMessage(answer).kind else { continue }
          try removal.receive(refusal.map { .failure($0) } ?? .success(answer))
        } catch is QMPLost, is QMPError {
          return
        }
      case .wait: break
      case .done: return
      }
    }
  }

  /// A command with any text in it is one object in one line.
  private static func checkCommand(_ text: String) throws {
    let command = try QMPChannel.command("blockdev-del", ["node-name": .string(text)], id: 7)
    try require(command.last == 10 && command.count { $0 == 10 } == 1, "one line: \(text)")
    try require(split(command, chunk: 5) == [Data(command.dropLast())], "one object: \(text)")
  }

  /// Text that includes words of QEMU, which no mutation finds by chance.
  private static func tokens(_ input: [UInt8]) -> [UInt8] {
    var text: [UInt8] = []
    for byte in input {
      if Int(byte) < words.count { text += words[Int(byte)].utf8 } else { text.append(byte) }
    }
    return text
  }

  private static let words = [
    "{", "}", "[", "]", ",", ":", "\"", "\\", "null", "true", "1e400", "-0.0",
    "{\"return\":", "{\"return\": [", "\"id\":", "\"QMP\":{}", "\"event\":", "\"data\":",
    "\"error\":{\"class\":\"GenericError\",\"desc\":\"\"}", "\"reason\":", "\"name\":",
    "\"arg-type\":", "\"members\":[", "\"blockdev-backup\"", "\"x-perf\"", "\"j1\"", "\"n1\"",
    "\"status\":", "\"concluded\"", "\"node-name\":", "\"file\":", "\"ro\":false",
    "\"image\":{\"virtual-size\":", "18446744073709551616", "\"\\ud800\"", "\u{FEFF}",
    "{\"id\":\"j2\",\"status\":\"running\"}", "}\n", "]}",
  ]
}
