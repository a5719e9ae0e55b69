// SPDX-License-Identifier: Apache-2.0

import FilterIO
import NBD
import SystemPackage

/// What the bytes of a disk are read from: front to back, and those of a live disk in any order.
protocol DiskContent: AnyObject, Sendable {
  /// As it is called in messages.
  var name: String { get }
  /// Bytes, when the run began.
  var size: UInt64 { get }
  /// The first range of data at or after `offset`, in bytes; what is before it is zeros. Nil where
  /// only zeros are left.
  func data(from offset: UInt64) throws -> Range<UInt64>?
  /// Reads at `offset`; returns fewer bytes only at the end.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int
  /// Checks, when all was read, that there was neither more nor less than `size`.
  func checkEnd() throws
  /// The archive is complete and in its place.
  func close()
}

extension DiskContent {
  func checkEnd() {}
  func close() {}
}

extension NBDSource: DiskContent {}

/// A file or block device, from where it is positioned.
final class FileContent: DiskContent, @unchecked Sendable {
  let size: UInt64
  private let descriptor: Descriptor
  private let start: UInt64
  private var canFindData: Bool

  init(_ descriptor: Descriptor, kind: FileKind) throws {
    self.descriptor = descriptor
    let start = descriptor.position ?? 0
    let whole = try descriptor.size()
    self.start = start
    size = whole - min(start, whole)
    canFindData = kind == .regular
    descriptor.adviseSequential()
  }

  var name: String { descriptor.name }

  func data(from offset: UInt64) -> Range<UInt64>? {
    guard offset < size else { return nil }
    guard canFindData else { return offset..<size }
    do {
      guard let data = try descriptor.next(data: true, at: start + offset), data < start + size
      else { return nil }
      let end = try descriptor.next(data: false, at: data) ?? start + size
      return data - start..<min(end - start, size)
    } catch {
      canFindData = false
      return offset..<size
    }
  }

  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    try descriptor.read(into: buffer, range, at: start + offset)
  }

  func checkEnd() throws {
    let now = try descriptor.size()
    guard now == start + size else {
      throw Failure(
        .badData,
        "\(name): changed its size from \(start + size) to \(now) bytes while it was packed")
    }
  }
}

/// A pipe, of a size that was told.
final class StreamContent: DiskContent, @unchecked Sendable {
  let name: String
  let size: UInt64
  private let open: () throws -> Descriptor
  private var opened: Descriptor?
  private var position: UInt64 = 0

  /// - Parameter open: is called when the first byte is wanted.
  init(name: String, size: UInt64, open: @escaping () throws -> Descriptor) {
    self.name = name
    self.size = size
    self.open = open
  }

  private func descriptor() throws -> Descriptor {
    if let opened { return opened }
    let descriptor = try open()
    descriptor.widenPipe()
    opened = descriptor
    return descriptor
  }

  func data(from offset: UInt64) -> Range<UInt64>? {
    offset < size ? offset..<size : nil
  }

  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    precondition(offset == position)
    let count = try descriptor().readFully(into: buffer, range)
    position += UInt64(count)
    return count
  }

  func checkEnd() throws {
    guard try descriptor().read(into: try Buffer(capacity: 1), 0..<1) == 0 else {
      throw Failure(.badData, "\(name): has more than \(size) bytes")
    }
  }
}
