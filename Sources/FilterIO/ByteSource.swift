// SPDX-License-Identifier: Apache-2.0

internal import SystemPackage

/// Something that bytes are read from, front to back.
public protocol ByteSource: AnyObject, Sendable {
  /// Reads some bytes, at most `range.count`; 0 at the end.
  ///
  /// - Throws: `Failure` 74 where reading fails, 65 where what is read is damaged.
  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int
}

extension ByteSource {
  /// Reads until the range is full or the source ends; returns the bytes read.
  public func readFully(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    var done = 0
    while done < range.count {
      let count = try read(into: buffer, range.lowerBound + done..<range.upperBound)
      if count == 0 { break }
      done += count
    }
    return done
  }
}

extension Descriptor: ByteSource {
  /// Standard input, to be read.
  ///
  /// - Throws: status 66 for a directory, 64 for what is written too.
  public static func claimedStandardInput() throws -> Descriptor {
    try standardInput.claimAsInput()
    return standardInput
  }

  /// Claims a descriptor that was inherited and is written.
  ///
  /// - Throws: status 64 for what is an input or another output.
  public func claimAsOutput() throws {
    try Claims.output(status(), name: name)
  }

  private func claimAsInput() throws {
    let status = try status()
    if status.kind == .directory { throw Failure(.noInput, name, .isDirectory) }
    try Claims.input(status, name: name)
  }

  /// Opens a file that a user has named, to be read.
  ///
  /// - Throws: status 66; 64 for what is written too.
  public static func input(at path: String) throws -> Descriptor {
    let descriptor: Descriptor
    do {
      descriptor = try open(FilePath(path), .read)
    } catch {
      throw Failure(.noInput, path, error)
    }
    try descriptor.claimAsInput()
    return descriptor
  }
}

/// The bytes of a descriptor, after some that were read from it before.
public final class DescriptorSource: ByteSource, @unchecked Sendable {
  private let descriptor: Descriptor
  private var prefix: ArraySlice<UInt8>

  /// - Parameter prefix: what was already read, to be read again first.
  public init(_ descriptor: Descriptor, prefix: [UInt8] = []) {
    self.descriptor = descriptor
    self.prefix = prefix[...]
    descriptor.adviseSequential()
    descriptor.widenPipe()
  }

  public func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    let count: Int
    if prefix.isEmpty {
      count = try descriptor.read(into: buffer, range)
    } else {
      let part = prefix.prefix(range.count)
      buffer.copy(Array(part), to: range.lowerBound)
      prefix = prefix.dropFirst(part.count)
      count = part.count
    }
    Progress.current.add(UInt64(count))
    return count
  }
}
