// SPDX-License-Identifier: Apache-2.0

import Files
import NBD
package import System
import SystemPackage
import VMA

/// A disk to be packed: a file or block device with random access, an NBD export, or a stream of a
/// known size.
package final class DiskSource: Sendable {
  /// The size of the disk in the archive: a multiple of 512.
  package let size: UInt64
  private let content: any DiskContent
  /// Its name in messages.
  package var name: String { content.name }

  /// - Parameters:
  ///   - path: `-` for standard input, or the URI of an NBD export.
  ///   - declaredSize: from `--size`.
  ///   - multiple: the size must be a multiple of this.
  ///   - pads: whether to round up a size that is not.
  ///   - isLive: the disk is read in any order, and only on demand: a guest may write to it in
  ///     between.
  ///   - warn: is called if the result may be unexpected.
  package init(
    _ path: String, declaredSize: UInt64?, multiple: UInt64, pads: Bool, isLive: Bool = false,
    warn: (String) -> Void
  ) throws {
    content = try Self.open(path, declaredSize: declaredSize, isLive: isLive)
    let (name, contentSize) = (content.name, content.size)
    if let declaredSize, declaredSize != contentSize {
      throw Failure(
        .badData, "\(name): size is \(contentSize) bytes, but --size states \(declaredSize)")
    }
    guard contentSize > 0 else { throw Failure(.badData, "\(name): is empty") }
    guard contentSize <= VMAFormat.maximumDeviceSize else {
      throw Failure(.badData, "\(name): size is \(contentSize) bytes, more than the format allows")
    }
    size = (contentSize + multiple - 1) / multiple * multiple
    let format = try ImageFormat(of: content)
    guard size == contentSize || pads else {
      let advice = format.map { "looks like \($0): export the disk with qemu-nbd" } ?? "use --pad"
      throw Failure(
        .badData,
        "\(name): size \(contentSize) is not a multiple of \(multiple) (\(advice))")
    }
    if let format {
      warn(
        "\(name): looks like \(format); packing the file itself, not the disk inside it "
          + "(export that with qemu-nbd)")
    }
  }

  private static func open(
    _ path: String, declaredSize: UInt64?, isLive: Bool
  ) throws -> any DiskContent {
    if NBDURI.matches(path) { return try NBDSource(path, readsAhead: !isLive) }
    if path != "-", try kind(of: path) == .fifo {
      // Opening it waits for its writer, which may wait for us to read another one first.
      guard let declaredSize else { throw unknownSize(path) }
      return StreamContent(name: path, size: declaredSize) { try Descriptor.input(at: path) }
    }
    let descriptor = try path == "-" ? .claimedStandardInput() : Descriptor.input(at: path)
    switch try descriptor.status().kind {
    case let kind where kind == .regular || kind == .blockDevice:
      return try FileContent(descriptor, kind: kind)
    default:
      guard let declaredSize else { throw unknownSize(descriptor.name) }
      return StreamContent(name: descriptor.name, size: declaredSize) { descriptor }
    }
  }

  private static func unknownSize(_ name: String) -> Failure {
    Failure(.usage, "\(name): the size of a stream is unknown (use --size NAME=BYTES)")
  }

  private static func kind(of path: String) throws -> FileKind? {
    do {
      return try Descriptor.status(of: FilePath(path))?.kind
    } catch {
      throw Failure(.noInput, path, error)
    }
  }

  /// The first range of data at or after `offset`, in bytes of the disk. Everything else is a hole;
  /// nil if only a hole remains.
  package func data(from offset: UInt64) throws -> Range<UInt64>? {
    try content.data(from: offset)
  }

  /// Reads bytes of the disk, in order unless it is live. After the end of the content there are
  /// zeros.
  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    let wanted = Int(min(UInt64(range.count), content.size - min(offset, content.size)))
    let part = range.lowerBound..<range.lowerBound + wanted
    let count = try content.read(into: buffer, part, at: offset)
    guard count == wanted else {
      throw Failure(
        .badData,
        "\(content.name): truncated: \(offset + UInt64(count)) of \(content.size) bytes present")
    }
    buffer.fillWithZeros(part.upperBound..<range.upperBound)
  }

  /// Checks, once everything is read, that the source is neither longer nor shorter than stated.
  package func checkEnd() throws { try content.checkEnd() }

  /// Releases the source, once the archive is complete and has its final name.
  package func close() { content.close() }
}
