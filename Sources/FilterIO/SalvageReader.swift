// SPDX-License-Identifier: Apache-2.0

internal import MD5
public import VMA

/// Reads what a damaged archive still holds: from any place where no sound extent is, it searches
/// on, at every byte, for the next one.
///
/// Data blocks carry no checksum, so whether the blocks of an extent are right shows only in what
/// follows: another extent (or something that was one), or the end. Where nothing of that kind
/// stands, bytes may be missing from the extent, or too many in it, and its clusters are given up,
/// unless the next extent lies where it would if nothing was lost or added: a multiple of 512 bytes
/// away.
public final class SalvageReader: ExtentSource {
  public let header: ArchiveHeader
  public private(set) var census: ClusterCensus
  /// Places at which something was wrong.
  public private(set) var faultCount = 0
  /// The first of them, in words.
  public private(set) var firstFault: String?

  private let source: any ByteSource
  private let name: String
  private let window: Buffer
  private var unread = 0..<0
  /// Where `unread` starts in the archive.
  private var byte: UInt64
  private var isAtEnd = false
  private var spare: [Extent]
  private var number = 0

  /// - Parameter reader: which has read the header of the archive, and no extent.
  public init(_ reader: ArchiveReader) throws {
    window = try Buffer(capacity: 12 << 20)
    spare = [try Extent(), try Extent()]
    header = reader.header
    source = reader.source
    name = reader.name
    byte = UInt64(reader.headerSize)
    census = ClusterCensus(reader.header.devices, isSalvaging: true)
  }

  public func recycle(_ extent: Extent) { spare.append(extent) }

  public func next() throws -> Extent? {
    while true {
      try fill(Format.extentHeaderSize)
      guard !unread.isEmpty else { return nil }
      guard let found = soundHeader(at: 0) else {
        note("no sound extent at byte \(byte)")
        guard try search(from: 1) != nil else { return nil }
        continue
      }
      try fill(Format.extentHeaderSize + found.dataSize + Format.extentHeaderSize)
      let extent = try spare.popLast() ?? Extent()
      extent.number = number
      extent.byte = byte
      number += 1
      if try take(found, into: extent) { return extent }
      spare.append(extent)
    }
  }

  /// Moves an extent out of the window.
  ///
  /// - Returns: whether anything of it can be used.
  private func take(_ found: ExtentHeader, into extent: Extent) throws -> Bool {
    let size = Format.extentHeaderSize + found.dataSize
    if let inside = try firstSoundHeader(in: Format.extentHeaderSize..<min(size, unread.count)) {
      note("extent at byte \(byte) lacks some of its data")
      drop(inside)
      return false
    }
    let data = min(found.dataSize, unread.count - Format.extentHeaderSize)
    let start = unread.lowerBound + Format.extentHeaderSize
    extent.buffer.copy(from: window, start..<start + data, to: 0)
    let isCut = data < found.dataSize
    if isCut { note("archive is cut at byte \(byte + UInt64(unread.count))") }
    drop(min(size, unread.count))
    if !isCut, !unread.isEmpty, !isExtentLike() {
      note("no sound extent at byte \(byte)")
      if let distance = try search(from: 0), distance % UInt64(Format.sectorSize) != 0 {
        return false
      }
    }
    return accept(found, dataCount: data, in: extent)
  }

  /// Leaves in the extent what is whole, possible and new, and moves its blocks together.
  private func accept(_ found: ExtentHeader, dataCount: Int, in extent: Extent) -> Bool {
    var slots: [Slot] = []
    var position = 0
    var used = 0
    for slot in found.slots {
      let length = slot.mask.nonzeroBitCount * Format.blockSize
      defer { position += length }
      guard position + length <= dataCount else { continue }
      do {
        try census.record(slot)
      } catch {
        note("extent at byte \(extent.byte): \(error)")
        continue
      }
      if position != used {
        extent.buffer.copy(from: extent.buffer, position..<position + length, to: used)
      }
      slots.append(slot)
      used += length
    }
    extent.header = ExtentHeader(slots: slots)
    return !slots.isEmpty
  }

  private func note(_ fault: String) {
    faultCount += 1
    if firstFault == nil { firstFault = fault }
  }

  // MARK: The window

  /// Brings `count` bytes in the window, where that many are left and fit.
  private func fill(_ count: Int) throws {
    let count = min(count, window.capacity)
    guard unread.count < count, !isAtEnd else { return }
    window.copy(from: window, unread, to: 0)
    unread = 0..<unread.count
    do {
      while unread.count < count {
        let got = try source.read(into: window, unread.upperBound..<window.capacity)
        if got == 0 { isAtEnd = true; return }
        unread = 0..<unread.upperBound + got
      }
    } catch let failure as Failure where failure.status == .badData {
      // A compressed archive that is damaged: what was read before is what there is.
      note(failure.message)
      isAtEnd = true
    }
  }

  private func drop(_ count: Int) {
    unread = unread.lowerBound + count..<unread.upperBound
    byte += UInt64(count)
  }

  private func soundHeader(at offset: Int) -> ExtentHeader? {
    let start = unread.lowerBound + offset
    guard start + Format.extentHeaderSize <= unread.upperBound else { return nil }
    return window.withBytes(start..<start + Format.extentHeaderSize) { bytes in
      try? ExtentHeader(parsing: bytes, uuid: header.uuid, digest: MD5.self)
    }
  }

  private func isExtentLike() -> Bool {
    let range =
      unread.lowerBound..<min(unread.lowerBound + Format.extentHeaderSize, unread.upperBound)
    return window.withBytes(range) { bytes in
      ExtentHeader.resembles(bytes, uuid: header.uuid)
    }
  }

  /// The first sound header that starts in a range of the window, which is completed to hold it.
  private func firstSoundHeader(in range: Range<Int>) throws -> Int? {
    var offset = range.lowerBound
    while offset < range.upperBound {
      let start = unread.lowerBound + offset
      let end = min(unread.lowerBound + range.upperBound + 3, unread.upperBound)
      guard start < end,
        let place = window.firstIndex(of: Array("VMAE".utf8), in: start..<end)
      else { return nil }
      offset = place - unread.lowerBound
      if offset + Format.extentHeaderSize > unread.count {
        try fill(offset + Format.extentHeaderSize)
      }
      if soundHeader(at: offset) != nil { return offset }
      offset += 1
    }
    return nil
  }

  /// Moves on to the next sound header at or after `offset`.
  ///
  /// - Returns: the bytes passed over; nil where none is left.
  private func search(from offset: Int) throws -> UInt64? {
    var passed: UInt64 = 0
    var offset = offset
    while true {
      try fill(offset + Format.extentHeaderSize)
      if let found = try firstSoundHeader(in: offset..<max(offset, unread.count)) {
        drop(found)
        return passed + UInt64(found)
      }
      let keep = isAtEnd ? 0 : min(Format.extentHeaderSize, unread.count)
      let count = unread.count - keep
      drop(count)
      passed += UInt64(count)
      offset = 0
      if isAtEnd { return nil }
      try fill(window.capacity)
    }
  }
}
