// SPDX-License-Identifier: Apache-2.0

import Synchronization
package import System
package import SystemPackage

/// What a run reads and what it writes. Only the functions here open an input or output, and each
/// one claims it, so that no tool can overwrite its input, or write to a file twice, under any
/// name.
package enum Claims {
  /// A part of a file or device that a claim covers.
  private struct Part {
    var identity: [UInt64]
    var range: Range<UInt64>
    /// Whether the claim covers the entire range, or only something in it.
    var isExact: Bool

    func overlaps(_ other: Part) -> Bool {
      guard identity == other.identity, range.overlaps(other.range) else { return false }
      // Two files in one file system, or two volumes on one disk, do not overlap.
      return isExact && other.isExact || isExact && range.contains(other.range)
        || other.isExact && other.range.contains(range)
    }
  }

  private enum Use {
    case input
    /// Overwritten in place.
    case output
    /// A file whose name another file will get.
    case replaced
    /// Standard output or error, which may be the same.
    case standardStream

    /// Whether one file may be used in both ways.
    func allows(_ other: Use) -> Bool {
      switch (self, other) {
      case (.input, .input), (.replaced, .replaced): true
      case (.standardStream, _), (_, .standardStream): self != .input && other != .input
      default: false
      }
    }
  }

  private struct Claim {
    var use: Use
    var name: String
    var parts: [Part] = []
    /// A name of another kind, such as that of an export.
    var key: String?
    /// The server that has these files open. Files that two servers have in common prove nothing:
    /// they may be a log, or inherited.
    var server: Int32?

    func excludes(_ other: Claim) -> Bool {
      if let key, key == other.key { return true }
      if use.allows(other.use) { return false }
      if server != nil, other.server != nil { return false }
      return parts.contains { part in other.parts.contains { part.overlaps($0) } }
    }
  }

  private static let claims = Mutex<[Claim]>([])
  private static let mute = Mutex<@Sendable () -> Void>({})

  // MARK: Claiming

  /// Claims a file or device for reading.
  package static func input(_ status: FileStatus, name: String) throws(Failure) {
    try add(Claim(use: .input, name: name, parts: parts(of: status)))
  }

  /// Claims a file or device for writing, before anything in it is changed.
  package static func output(_ status: FileStatus, name: String) throws(Failure) {
    try add(Claim(use: .output, name: name, parts: parts(of: status)))
  }

  /// Claims a name in a directory for a new file, and the file that has this name now.
  package static func output(
    _ file: FilePath, in directory: FileStatus, replacing old: [FileStatus], name: String
  ) throws(Failure) {
    try add(
      Claim(
        use: .replaced, name: name, parts: parts(of: directory) + old.flatMap(parts),
        key: "\(directory.identity) \(file.bytes)"))
  }

  /// Claims an export for writing.
  ///
  /// - Parameter key: the same for all names of the export.
  package static func output(export key: String, name: String) throws(Failure) {
    try add(Claim(use: .output, name: name, key: key))
  }

  /// Claims the files that an NBD server reads its exports from.
  package static func input(of server: PeerProcess, name: String) throws(Failure) {
    let files = server.files(onlyWritten: false)
    try add(Claim(use: .input, name: name, parts: files.flatMap(parts), server: server.id))
  }

  /// Claims the files that an NBD server writes.
  package static func output(of server: PeerProcess, name: String) throws(Failure) {
    let files = server.files(onlyWritten: true)
    try add(Claim(use: .output, name: name, parts: files.flatMap(parts), server: server.id))
  }

  /// Claims standard output and standard error. Messages written into an archive would damage it,
  /// too.
  ///
  /// - Parameter mute: is called if standard error is also something else.
  package static func standardStreams(mute: @escaping @Sendable () -> Void) throws(Failure) {
    Self.mute.withLock { $0 = mute }
    for stream in [Descriptor.standardOutput, .standardError] {
      try add(
        Claim(use: .standardStream, name: stream.name, parts: parts(of: try stream.status())))
    }
  }

  private static func add(_ claim: Claim) throws(Failure) {
    let other = claims.withLock { claims -> Claim? in
      if let other = claims.first(where: claim.excludes) { return other }
      claims.append(claim)
      return nil
    }
    guard let other else { return }
    if [claim, other].contains(where: { $0.name == Descriptor.standardError.name }) {
      mute.withLock { $0 }()
    }
    if claim.use != .input, other.use != .input {
      throw Failure(.usage, "\(claim.name): is also the output \(other.name)")
    }
    let (input, output) = claim.use == .input ? (claim, other) : (other, claim)
    let alias = input.name == output.name ? "" : " (as \(input.name))"
    throw Failure(.usage, "\(output.name): is both an output and an input\(alias)")
  }

  // MARK: Storage locations

  /// A file, and everything that contains it: a loop device is in its file, a partition in its
  /// disk, a file in the device of its file system. For a directory, only that device.
  private static func parts(of status: FileStatus) -> [Part] {
    let all = 0..<UInt64.max
    var waiting: [(part: Part, fileSystem: UInt64?)] = []
    switch status.kind {
    case .regular, .symlink:
      waiting.append(
        (Part(identity: status.identity, range: all, isExact: true), status.fileSystem))
    case .blockDevice:
      waiting.append((Part(identity: status.identity, range: all, isExact: true), nil))
    case .directory where BlockDevice.exists(status.fileSystem):
      waiting.append((Part(identity: [status.fileSystem], range: all, isExact: false), nil))
    default: return []
    }
    var parts: [Part] = []
    // Devices have few others below them; the limit protects against a cycle in /sys.
    while let (part, fileSystem) = waiting.popLast(), parts.count < 100 {
      parts.append(part)
      if part.identity.count == 1 {
        for backing in BlockDevice.backings(of: part.identity[0]) {
          waiting.append(
            (
              Part(
                identity: backing.identity, range: place(of: part.range, in: backing),
                isExact: part.isExact && backing.isExact), backing.fileSystem
            ))
        }
      } else if let fileSystem, BlockDevice.exists(fileSystem) {
        waiting.append((Part(identity: [fileSystem], range: all, isExact: false), nil))
      }
    }
    return parts
  }

  private static func place(
    of range: Range<UInt64>, in backing: BlockDevice.Backing
  ) -> Range<UInt64> {
    func sum(_ left: UInt64, _ right: UInt64) -> UInt64 {
      let (sum, overflow) = left.addingReportingOverflow(right)
      return overflow ? .max : sum
    }
    let end = sum(backing.start, min(range.upperBound, backing.size))
    return min(sum(backing.start, range.lowerBound), end)..<end
  }
}
