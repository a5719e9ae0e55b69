// SPDX-License-Identifier: Apache-2.0

import Archives
import Compression
import Files
import System

/// The index of an archive that is not seekable without one, for one run of nbdkit.
enum TemporaryIndex {
  /// Reads an entire archive to create its index in an unlinked temporary file, if it needs one.
  ///
  /// - Parameter warn: receives how to keep such an index.
  /// - Throws: `Failure` if the archive is damaged, or if an index is not possible.
  static func create(for input: Input, warn: (String) -> Void) throws {
    guard try input.access(cacheSize: 0, threads: 0) == nil else { return }
    let stored: (any RandomAccess)?
    do {
      stored = try input.indexable()
    } catch let failure as Failure where failure.status == .usage {
      // The caller says what is possible.
      stored = nil
    }
    guard let stored else { return }
    let file = try Descriptor.temporary(in: nil, called: "index")
    warn("\(input.name): is read once to create an index (to keep it, use vma-unpack -t --index)")
    try record(stored, output: file)
    try waitForThreads()
    try input.use(index: file)
  }

  private static func record(_ stored: any RandomAccess, output: Descriptor) throws {
    let recording = try IndexRecording(stored, output: output)
    let header = try ArchiveReader(recording, name: stored.name).header
    let buffer = try Buffer(capacity: 1 << 20)
    while try recording.read(into: buffer, 0..<buffer.capacity) > 0 {}
    _ = try recording.finish(header)
  }

  /// Waits until the threads that created the index have ended: nbdkit forks next, and a lock that a
  /// thread holds then would stay locked.
  private static func waitForThreads() throws {
    for _ in 0..<10_000 {
      guard let count = Host.threadCount, count > 1 else { return }
      Host.sleep(milliseconds: 1)
    }
    throw Failure(.general, "a thread does not end")
  }
}
