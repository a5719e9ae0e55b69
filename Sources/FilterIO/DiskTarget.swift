// SPDX-License-Identifier: Apache-2.0

internal import SystemPackage

/// Where a restored disk goes, its pieces in any order.
public protocol DiskTarget: AnyObject {
  /// Writes stored data.
  func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws
  /// Makes this part of the disk zeros.
  func zero(_ range: Range<UInt64>) throws
  /// All has come; the disk is this long.
  func finish(length: UInt64) throws
}

/// A new sparse file: zeros are what is not written.
public final class SparseFile: DiskTarget {
  public let file: PendingFile

  public init(_ file: PendingFile) {
    self.file = file
  }

  public func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    try file.descriptor.write(buffer, range, at: offset)
  }

  public func zero(_ range: Range<UInt64>) {}

  public func finish(length: UInt64) throws {
    try file.descriptor.truncate(to: length)
  }
}

/// A file or block device that exists and is overwritten where it is.
public final class InPlaceTarget: DiskTarget {
  private let descriptor: Descriptor
  private let kind: FileKind
  private let size: UInt64
  /// Zeros that were not made yet: neighbours are made together.
  private var pendingZeros: Range<UInt64> = 0..<0
  private var canFree = true

  /// Opens the target; nothing is changed yet.
  ///
  /// - Parameters:
  ///   - size: bytes that must fit.
  ///   - force: takes a block device that is in use.
  /// - Throws: status 73.
  public init(_ path: String, size: UInt64, force: Bool) throws {
    kind = try Self.status(of: path).kind
    let path = FilePath(path)
    let name = path.string
    guard kind == .regular || kind == .blockDevice else {
      throw Failure(.cannotCreate, "\(name): is neither a regular file nor a block device")
    }
    do {
      let isExclusive = kind == .blockDevice && !force
      descriptor = try Descriptor.open(path, isExclusive ? [.readWrite, .exclusive] : .readWrite)
    } catch Errno.resourceBusy {
      throw Failure(.cannotCreate, "\(name): is in use (-f takes it all the same)")
    } catch {
      throw Failure(.cannotCreate, name, error)
    }
    self.size = try descriptor.size()
    guard self.size >= size else {
      throw Failure(
        .cannotCreate, "\(name): is too small: \(self.size) bytes, the disk has \(size)")
    }
  }

  /// What is there, symbolic links followed: its identity tells two names of one target.
  ///
  /// - Throws: status 73 where nothing is.
  public static func status(of path: String) throws -> FileStatus {
    do throws(Errno) {
      guard let there = try Descriptor.status(of: FilePath(path)) else {
        throw .noSuchFileOrDirectory
      }
      return there
    } catch {
      throw Failure(.cannotCreate, path, error)
    }
  }

  public func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    try checkFits(offset + UInt64(range.count))
    try descriptor.write(buffer, range, at: offset)
  }

  public func zero(_ range: Range<UInt64>) throws {
    try checkFits(range.upperBound)
    if pendingZeros.upperBound == range.lowerBound {
      pendingZeros = pendingZeros.lowerBound..<range.upperBound
    } else {
      try writeZeros()
      pendingZeros = range
    }
  }

  public func finish(length: UInt64) throws {
    try writeZeros()
    if try descriptor.size() < length { try descriptor.truncate(to: length) }
    try descriptor.sync()
  }

  /// Only vmstate may be longer than it said, and only a file can become longer.
  private func checkFits(_ end: UInt64) throws {
    guard end <= size || kind == .regular else {
      throw Failure(.cannotCreate, "\(descriptor.name): is too small")
    }
  }

  private func writeZeros() throws {
    let range = pendingZeros
    pendingZeros = 0..<0
    guard !range.isEmpty else { return }
    if canFree {
      if kind == .regular ? descriptor.punchHole(range) : descriptor.zeroBlockDevice(range) {
        return
      }
      canFree = false
    }
    var offset = range.lowerBound
    while offset < range.upperBound {
      let part = Int(min(range.upperBound - offset, UInt64(Buffer.zeros.capacity)))
      try descriptor.write(.zeros, 0..<part, at: offset)
      offset += UInt64(part)
    }
  }
}
