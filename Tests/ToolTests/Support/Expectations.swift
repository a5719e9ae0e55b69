// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

extension Outcome {
  /// Exit status 0, and no messages.
  @discardableResult
  func succeeds(
    _ comment: String = "", sourceLocation: SourceLocation = #_sourceLocation
  ) -> Outcome {
    if ending != .exit(0) || !errors.isEmpty {
      record("should succeed in silence", comment, sourceLocation)
    }
    return self
  }

  /// The given status, and exactly one clean line on stderr that begins with the tool's name.
  @discardableResult
  func fails(
    _ code: Int32, _ tool: Tool, saying words: String..., silent: Bool = true,
    _ comment: String = "", sourceLocation: SourceLocation = #_sourceLocation
  ) -> Outcome {
    if ending != .exit(code) { record("should exit \(code)", comment, sourceLocation) }
    if let fault = complaint(about: tool) { record(fault, comment, sourceLocation) }
    if silent && !output.isEmpty {
      record("should leave stdout empty, wrote \(output.count) bytes", comment, sourceLocation)
    }
    for word in words where !errors.contains(word) {
      record("should mention \(word)", comment, sourceLocation)
    }
    return self
  }

  /// Why stderr is not exactly one error line; nil if it is.
  func complaint(about tool: Tool) -> String? {
    guard errors.hasPrefix(tool.rawValue + ": ") else {
      return "its error should begin with \(tool.rawValue):"
    }
    guard errors.hasSuffix("\n"), errorLines.count == 2 else {
      return "its error should be one line"
    }
    guard errors.utf8.count <= 500 else { return "its error should have at most 500 bytes" }
    let hasControls = errors.dropLast().unicodeScalars.contains {
      $0.properties.generalCategory == .control
    }
    return hasControls ? "its error should hold no control characters" : nil
  }

  private func record(_ fault: String, _ comment: String, _ sourceLocation: SourceLocation) {
    let said = errors.isEmpty ? "nothing" : String(errors.debugDescription.prefix(600))
    let note = comment.isEmpty ? "" : " (\(comment))"
    let line = command.replacingOccurrences(of: "\n", with: "; ") + note
    Issue.record(
      "\(line) \(fault); \(ending.testDescription), stderr: \(said)",
      sourceLocation: sourceLocation)
  }
}

/// Compares many bytes, and reports only the first difference.
func expectSame(
  _ actual: [UInt8], _ expected: [UInt8], _ what: String = "bytes",
  sourceLocation: SourceLocation = #_sourceLocation
) {
  guard actual != expected else { return }
  let place = zip(actual, expected).enumerated().first { $1.0 != $1.1 }?.offset
  let difference = place.map { "first difference at byte \($0)" } ?? "one is a prefix of the other"
  Issue.record(
    "\(what): \(actual.count) bytes, expected \(expected.count); \(difference)",
    sourceLocation: sourceLocation)
}

extension Scratch {
  /// A file exists and contains exactly these bytes.
  func expect(
    _ name: String, holds expected: [UInt8], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    guard exists(name) else {
      Issue.record("\(name) is missing", sourceLocation: sourceLocation)
      return
    }
    expectSame(try read(name), expected, name, sourceLocation: sourceLocation)
  }

  /// A directory contains exactly these names.
  func expectNames(
    _ expected: [String], in directory: String = ".",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let names = try names(in: directory)
    #expect(names == expected.sorted(), sourceLocation: sourceLocation)
  }
}
