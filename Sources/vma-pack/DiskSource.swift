// SPDX-License-Identifier: Apache-2.0

import FilterIO
import SystemPackage
import VMA

/// A disk to be packed: a file or block device that can be read at any place, or a stream of a
/// known size.
final class DiskSource: @unchecked Sendable {
  /// As it is called in messages.
  let name: String
  /// Bytes of the disk in the archive: a multiple of 512.
  let size: UInt64
  /// Bytes that the source has; behind them the disk is padded with zeros.
  let contentSize: UInt64
  private let descriptor: Descriptor
  /// Where the disk starts in the file; nil for a stream.
  private let start: UInt64?
  private let isFile: Bool
  private var canFindData: Bool
  /// The next byte of a stream.
  private var position: UInt64 = 0

  /// - Parameters:
  ///   - path: `-` for standard input.
  ///   - declaredSize: of `--size`.
  ///   - multiple: what the size must be a multiple of.
  ///   - pads: whether a size that is not is rounded up.
  init(_ path: String, declaredSize: UInt64?, multiple: UInt64, pads: Bool) throws {
    if path == "-" {
      descriptor = .standardInput
    } else {
      do {
        descriptor = try Descriptor.open(FilePath(path), .read)
      } catch {
        throw Failure(.noInput, path, error)
      }
    }
    name = descriptor.name
    let kind = try descriptor.status().kind
    if kind == .directory { throw Failure(.noInput, name, .isDirectory) }
    isFile = kind == .regular
    start = isFile || kind == .blockDevice ? descriptor.position ?? 0 : nil
    canFindData = isFile

    if let start {
      let whole = try descriptor.size()
      contentSize = whole - min(start, whole)
      if let declaredSize, declaredSize != contentSize {
        throw Failure(
          .badData, "\(name): has \(contentSize) bytes, not the \(declaredSize) of --size")
      }
    } else if let declaredSize {
      contentSize = declaredSize
      descriptor.widenPipe()
    } else {
      throw Failure(.usage, "\(name): the size of a stream must be given with --size NAME=BYTES")
    }
    guard contentSize > 0 else { throw Failure(.badData, "\(name): is empty") }
    guard contentSize <= Format.maximumDeviceSize else {
      throw Failure(.badData, "\(name): has \(contentSize) bytes, more than the format can hold")
    }
    size = (contentSize + multiple - 1) / multiple * multiple
    guard size == contentSize || pads else {
      throw Failure(
        .badData,
        "\(name): its size of \(contentSize) bytes is no multiple of \(multiple) (--pad pads it)")
    }
    if start != nil { descriptor.adviseSequential() }
  }

  /// The first range of data at or after `offset`, all in bytes of the disk. What is not in it is a
  /// hole; nil if nothing but a hole is left.
  func data(from offset: UInt64) -> Range<UInt64>? {
    guard offset < contentSize else { return nil }
    guard canFindData, let start else { return offset..<contentSize }
    do {
      guard let data = try descriptor.next(data: true, at: start + offset),
        data < start + contentSize
      else { return nil }
      let end = try descriptor.next(data: false, at: data) ?? start + contentSize
      return data - start..<min(end - start, contentSize)
    } catch {
      canFindData = false
      return offset..<contentSize
    }
  }

  /// Reads bytes of the disk; a stream only in order. What lies behind the content is zeros.
  func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    let wanted = Int(min(UInt64(range.count), contentSize - min(offset, contentSize)))
    let part = range.lowerBound..<range.lowerBound + wanted
    var count = 0
    if let start {
      count = try descriptor.read(into: buffer, part, at: start + offset)
    } else {
      precondition(offset == position)
      while count < wanted {
        let got = try descriptor.read(into: buffer, part.lowerBound + count..<part.upperBound)
        if got == 0 { break }
        count += got
      }
      position += UInt64(count)
    }
    guard count == wanted else {
      throw Failure(
        .badData, "\(name): ends after \(offset + UInt64(count)) of \(contentSize) bytes")
    }
    buffer.fillWithZeros(part.upperBound..<range.upperBound)
  }

  /// Checks, when all was read, that the source is neither longer nor shorter than it was said.
  func checkEnd() throws {
    let probe = Buffer(capacity: 1)
    if let start {
      let now = try descriptor.size() - start
      guard now == contentSize else {
        throw Failure(
          .badData,
          "\(name): changed its size from \(contentSize) to \(now) bytes while it was packed")
      }
    } else if try descriptor.read(into: probe, 0..<1) != 0 {
      throw Failure(.badData, "\(name): has more than \(contentSize) bytes")
    }
  }
}
