// SPDX-License-Identifier: Apache-2.0

import Archives
import Command
import Compression
import Files
import NBD
import System
import VMA

/// The index file that a test creates.
struct NewIndex {
  /// Reads the archive; nil if it needs no index.
  let recording: IndexRecording?
  private let output: Output?
  private let name: String

  /// - Parameters:
  ///   - archive: its operand.
  ///   - path: of the index; nil for the one beside the archive.
  /// - Throws: `Failure` 64 if an index is not possible, 73 if it cannot be created.
  init(_ input: Input, archive: String?, _ path: String?) throws {
    name = input.name
    guard let stored = try input.indexable() else {
      Console.error("\(input.name): needs no index")
      (recording, output) = (nil, nil)
      return
    }
    let output = try IndexOutput.open(try path ?? Self.path(beside: archive))
    self.output = output
    recording = try IndexRecording(stored, output: output.descriptor)
  }

  private static func path(beside archive: String?) throws -> String {
    guard let archive, archive != "-", !NBDURI.matches(archive) else {
      throw Failure(.usage, "--index requires --index-file, because the archive is not a file")
    }
    return IndexChoice.path(beside: archive)
  }

  /// Completes the file, after the archive was found sound.
  ///
  /// - Returns: what was found, for the user.
  func finish(_ header: ArchiveHeader) throws -> String? {
    guard let recording, let output else { return nil }
    let summary = try recording.finish(header)
    try output.commit()
    return "\(output.descriptor.name): index of \(name): \(summary)"
  }
}
