// SPDX-License-Identifier: Apache-2.0

import System

/// The parameters on the command line of nbdkit.
struct Parameters: Sendable {
  var archive: String?
  /// The default export.
  var drive: String?
  /// The index file; nil for the one beside the archive, if there is one.
  var index: String?
  /// Threads that decode ahead of sequential readers.
  var threads = Host.processorCount
  /// The maximum size of decoded data in memory, in bytes.
  var cacheSize = 64 << 20
  /// Whether to serve what a damaged or incomplete archive contains.
  var servesIncomplete = false

  static let help = """
    [archive=]ARCHIVE  (required) File or NBD URI of the archive to serve.
    drive=DRIVE        Default export (default: the only drive).
    index=FILE         Index of the archive (default: ARCHIVE.idx, if it exists).
    cache=SIZE         Memory for decompressed data (default: 64M).
    threads=N          Threads that decompress in advance (default: all cores).
    incomplete=true    Serve a damaged or incomplete archive. Reading lost data fails.
    """

  private static let largestCache: UInt64 = 1 << 40
  private static let mostThreads = 256

  mutating func set(_ key: String, to value: String) throws {
    switch key {
    case "archive":
      guard archive == nil else { throw Failure(.usage, "only one archive can be served") }
      archive = value
    case "drive": drive = value
    case "index": index = value
    case "cache":
      guard let size = ByteCount(argument: value), size.bytes <= Self.largestCache else {
        throw Failure(.usage, "cache=\(value): not a size up to 1T (such as 64M)")
      }
      cacheSize = Int(size.bytes)
    case "threads":
      guard let count = Int(value), (0...Self.mostThreads).contains(count) else {
        throw Failure(.usage, "threads=\(value): not a number from 0 to \(Self.mostThreads)")
      }
      threads = count == 0 ? Host.processorCount : count
    case "incomplete": servesIncomplete = try Self.bool(value, key)
    default: throw Failure(.usage, "unknown parameter: \(key)")
    }
  }

  private static func bool(_ value: String, _ key: String) throws -> Bool {
    switch value.lowercased() {
    case "1", "true", "t", "yes", "y", "on": return true
    case "0", "false", "f", "no", "n", "off": return false
    default: throw Failure(.usage, "\(key)=\(value): not true or false")
    }
  }
}
