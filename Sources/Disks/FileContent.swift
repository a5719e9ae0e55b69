// SPDX-License-Identifier: Apache-2.0

import System
import SystemPackage

/// A file or block device, from its current position on.
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
        "\(name): size changed from \(start + size) to \(now) bytes while packing")
    }
  }
}
