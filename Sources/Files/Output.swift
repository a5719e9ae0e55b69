// SPDX-License-Identifier: Apache-2.0

package import System
import SystemPackage

/// The destination of the data: standard output, or the file of `-o`.
package struct Output: Sendable {
  package let descriptor: Descriptor
  private let pending: PendingFile?
  private let isDirect: Bool
  /// Prevents that a block device of `/dev/fd/N` is mounted during the run.
  private var reservation: Descriptor?

  private init(
    _ descriptor: Descriptor, pending: PendingFile? = nil, isDirect: Bool = false,
    reservation: Descriptor? = nil
  ) {
    self.descriptor = descriptor
    self.pending = pending
    self.isDirect = isDirect
    self.reservation = reservation
  }

  /// Standard output, unless it is a terminal.
  ///
  /// - Throws: status 64 on a terminal, 73 if it accepts no writes.
  package static func standard() throws -> Output {
    guard !Descriptor.standardOutput.isTerminal else {
      throw Failure(.usage, "standard output is a terminal (redirect it)")
    }
    try Descriptor.standardOutput.requireWritable()
    Descriptor.standardOutput.widenPipe()
    return Output(.standardOutput)
  }

  /// Prevents that a block device that is standard output is mounted during the run.
  ///
  /// - Returns: what holds the device, if standard output is one.
  /// - Throws: status 73 if it is in use.
  package static func reserveStandardOutput() throws -> Descriptor? {
    do {
      return try Descriptor.standardOutput.reserveDevice()
    } catch Errno.resourceBusy {
      throw Failure(
        .cannotCreate, "standard output is a device in use (to overwrite it, pipe to 'dd')")
    }
  }

  /// A file that appears under its name once it is complete and synced; a FIFO or device is written
  /// directly.
  private static func file(_ path: String, replaces: Bool) throws -> Output {
    let file = FilePath(path)
    do {
      if let number = Descriptor.number(at: file) {
        return try inherited(number, name: path, replaces: replaces)
      }
      let there = try Descriptor.status(of: file)
      let kind = there?.kind
      switch kind {
      case .fifo, .characterDevice, .blockDevice:
        if let there { try Claims.output(there, name: path) }
        let isExclusive = kind == .blockDevice && !replaces
        let descriptor = try Descriptor.open(file, isExclusive ? [.write, .exclusive] : .write)
        if descriptor.isTerminal { throw Failure(.usage, "\(path): is a terminal") }
        try descriptor.requireWritable()
        return Output(descriptor, isDirect: true)
      default: break
      }
      guard let name = file.lastComponent, name.kind == .regular, !path.hasSuffix("/") else {
        throw Errno.isDirectory
      }
      let folder = file.removingLastComponent()
      let directory = try Descriptor.directory(at: folder)
      let pending = try PendingFile(
        FilePath(name.string), in: directory, displayName: path, replaces: replaces)
      return Output(pending.descriptor, pending: pending)
    } catch Errno.resourceBusy {
      throw Failure(.cannotCreate, "\(path): is in use (use -f to write to it anyway)")
    } catch let error as Errno {
      throw Failure(.cannotCreate, path, error)
    }
  }

  /// An inherited descriptor, written from its current position on, like standard output.
  private static func inherited(_ number: Int32, name: String, replaces: Bool) throws -> Output {
    if number == Descriptor.standardOutput.raw { return try standard() }
    let descriptor = Descriptor(raw: number, name: name, isOwned: false)
    guard Descriptor.isInherited(number), descriptor.isWritable else {
      throw Errno.badFileDescriptor
    }
    guard number != Descriptor.standardError.raw else {
      throw Failure(.usage, "\(name): is standard error, where messages go")
    }
    if descriptor.isTerminal { throw Failure(.usage, "\(name): is a terminal") }
    try descriptor.claimAsOutput()
    try descriptor.requireWritable()
    descriptor.widenPipe()
    return Output(
      descriptor, isDirect: true, reservation: replaces ? nil : try descriptor.reserveDevice())
  }

  /// The output of `-o`, or standard output if that is nil or `-`.
  ///
  /// - Parameters:
  ///   - replaces: whether to overwrite an existing file, and to allow a device in use.
  ///   - atLeast: bytes that will certainly be written.
  package static func open(_ path: String?, replaces: Bool, atLeast: UInt64 = 0) throws -> Output {
    let output =
      if let path, path != "-" {
        try file(path, replaces: replaces)
      } else {
        try standard()
      }
    try output.descriptor.requireRoom(for: atLeast)
    return output
  }

  /// The last step of a successful run.
  package func commit() throws {
    if let pending {
      try PendingFile.commit([pending])
    } else if isDirect {
      try descriptor.sync()
    }
  }
}
