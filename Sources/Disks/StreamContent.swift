// SPDX-License-Identifier: Apache-2.0

import System

/// A pipe whose size the user stated.
final class StreamContent: DiskContent, @unchecked Sendable {
  let name: String
  let size: UInt64
  private let open: () throws -> Descriptor
  private var opened: Descriptor?
  private var position: UInt64 = 0

  /// - Parameter open: is called when the first byte is needed.
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
