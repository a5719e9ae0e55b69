// SPDX-License-Identifier: Apache-2.0

import System

/// Notices changes to the file of an archive, whose index would then lead to wrong data.
final class ArchiveWatch: Sendable {
  private let descriptor: Descriptor
  private let size: UInt64
  private let modificationTime: Int64

  init(_ descriptor: Descriptor) throws {
    self.descriptor = descriptor
    let status = try descriptor.status()
    (size, modificationTime) = (status.size, status.modificationTime)
  }

  /// - Throws: `Failure` 74 if the file was changed since it was opened. Data that was read before
  ///   that is valid.
  func requireUnchanged() throws {
    let status = try descriptor.status()
    guard status.size == size, status.modificationTime == modificationTime else {
      throw Failure(.inputOutput, "\(descriptor.name): was changed while it was served")
    }
  }
}
