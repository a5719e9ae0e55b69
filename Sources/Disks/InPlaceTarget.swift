// SPDX-License-Identifier: Apache-2.0

import Files
package import System
import SystemPackage

/// An existing file or block device that is overwritten in place.
package final class InPlaceTarget: DiskTarget {
  /// The claimed path of a target: it differs from all other targets and inputs.
  package struct Place {
    fileprivate let path: String
    fileprivate let status: FileStatus

    /// - Throws: status 73 if it does not exist; 64 if it is an input or another output.
    package init(_ path: String) throws {
      self.path = path
      do throws(Errno) {
        guard let there = try Descriptor.status(of: FilePath(path)) else {
          throw .noSuchFileOrDirectory
        }
        status = there
      } catch {
        throw Failure(.cannotCreate, path, error)
      }
      try Claims.output(status, name: path)
    }
  }

  private let descriptor: Descriptor
  private let kind: FileKind
  private let size: UInt64
  private let isZero: Bool
  private let unit: UInt64
  package private(set) var hasChanged = false
  /// Zeros that are still to be written: adjacent ranges are merged.
  private var pendingZeros: Range<UInt64> = 0..<0
  private var canFree = true
  private var canZero = true
  private var probe: Buffer?

  /// The maximum range of zeros in one call, because signals are handled only after it.
  private static let stepSize: UInt64 = 1 << 27
  /// Thin storage allocates at least this much, so smaller ranges are not worth checking.
  private static let thinUnit = 1 << 16
  private static let probeSize = 1 << 20

  /// Opens the target; nothing is changed yet.
  ///
  /// - Parameters:
  ///   - size: the number of bytes that must fit.
  ///   - force: allows a target that is in use.
  ///   - isZero: whether the target is known to contain zeros.
  /// - Throws: status 73.
  package init(_ place: Place, size: UInt64, force: Bool, isZero: Bool) throws {
    kind = place.status.kind
    self.isZero = isZero
    let name = place.path
    guard kind == .regular || kind == .blockDevice else {
      throw Failure(.cannotCreate, "\(name): is not a regular file or block device")
    }
    do {
      let isExclusive = kind == .blockDevice && !force
      descriptor = try Descriptor.open(
        FilePath(name), isExclusive ? [.readWrite, .exclusive] : .readWrite)
    } catch Errno.resourceBusy {
      throw Failure(.cannotCreate, "\(name): is in use (use -f to write to it anyway)")
    } catch {
      throw Failure(.cannotCreate, name, error)
    }
    guard try descriptor.status().identity == place.status.identity else {
      throw Failure(.cannotCreate, "\(name): was replaced while it was being opened")
    }
    guard force || !descriptor.isUsedByQEMU else {
      throw Failure(.cannotCreate, "\(name): is in use by QEMU (use -f to write to it anyway)")
    }
    try descriptor.requireWritable()
    unit = try descriptor.zeroingUnit()
    self.size = try descriptor.size()
    guard self.size >= size else {
      throw Failure(
        .cannotCreate, "\(name): is too small: \(self.size) bytes, the disk has \(size)")
    }
    try descriptor.requireRoom(for: size)
  }

  package func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    try checkFits(offset + UInt64(range.count))
    try overwrite(buffer, range, at: offset)
  }

  package func zero(_ range: Range<UInt64>) throws {
    try checkFits(range.upperBound)
    if isZero { return }
    if pendingZeros.upperBound == range.lowerBound {
      pendingZeros = pendingZeros.lowerBound..<range.upperBound
    } else {
      try makeZeros()
      pendingZeros = range
    }
  }

  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Bool {
    try makeZeros()
    buffer.fillWithZeros(range)
    _ = try descriptor.read(into: buffer, range, at: offset)
    return true
  }

  package func finish(length: UInt64) throws {
    try makeZeros()
    if try descriptor.size() < length { try descriptor.truncate(to: length) }
    try descriptor.sync()
  }

  /// Only vmstate may be longer than stated, and only a file can grow.
  private func checkFits(_ end: UInt64) throws {
    guard end <= size || kind == .regular else {
      throw Failure(.cannotCreate, "\(descriptor.name): is too small")
    }
  }

  private func overwrite(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws {
    try descriptor.write(buffer, range, at: offset)
    hasChanged = true
  }

  // MARK: Zeros

  private func makeZeros() throws {
    var rest = pendingZeros
    pendingZeros = 0..<0
    while !rest.isEmpty {
      let step = rest.lowerBound..<min(rest.upperBound, rest.lowerBound + Self.stepSize)
      try makeZeros(step)
      rest = step.upperBound..<rest.upperBound
    }
  }

  /// Frees a range, so that thin storage stays thin, or else skips parts that are already zero.
  private func makeZeros(_ range: Range<UInt64>) throws {
    let first = (range.lowerBound + unit - 1) / unit * unit
    let inner = first..<max(first, range.upperBound / unit * unit)
    guard !inner.isEmpty else { return try writeZeros(range) }
    if canFree {
      canFree = descriptor.punchHole(inner)
      if canFree {
        hasChanged = true
        try writeZeros(range.lowerBound..<inner.lowerBound)
        try writeZeros(inner.upperBound..<range.upperBound)
        return
      }
    }
    guard range.count >= Self.thinUnit else { return try fillWithZeros(range) }
    try forEachPartWithData(of: range, fillWithZeros)
  }

  /// Reads a range and passes on the parts of it that are not zeros.
  private func forEachPartWithData(
    of range: Range<UInt64>, _ body: (Range<UInt64>) throws -> Void
  ) throws {
    let buffer = try probe ?? Buffer(capacity: Self.probeSize)
    probe = buffer
    var start = range.lowerBound
    while start < range.upperBound {
      let wanted = Int(min(range.upperBound - start, UInt64(Self.probeSize)))
      // After the end of a file there are only zeros.
      let count = try descriptor.read(into: buffer, 0..<wanted, at: start)
      for place in stride(from: 0, to: count, by: Self.thinUnit) {
        let end = min(place + Self.thinUnit, count)
        if !buffer.isZero(place..<end) { try body(start + UInt64(place)..<start + UInt64(end)) }
      }
      start += UInt64(wanted)
    }
  }

  private func fillWithZeros(_ range: Range<UInt64>) throws {
    if canZero, range.lowerBound % unit == 0, range.upperBound % unit == 0 {
      canZero = descriptor.zeroRange(range)
      if canZero {
        hasChanged = true
        return
      }
    }
    try writeZeros(range)
  }

  private func writeZeros(_ range: Range<UInt64>) throws {
    var offset = range.lowerBound
    while offset < range.upperBound {
      let part = Int(min(range.upperBound - offset, UInt64(Buffer.zeros.capacity)))
      try overwrite(.zeros, 0..<part, at: offset)
      offset += UInt64(part)
    }
  }
}
