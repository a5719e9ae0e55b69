// SPDX-License-Identifier: Apache-2.0

package import Compression
package import System
package import VMA

/// Reads what a damaged archive still contains: wherever an intact extent is missing, it searches
/// for the next one at every byte.
///
/// A digest proves the data of an extent, if the archive has digests. Otherwise its surroundings
/// prove it: the checksum of the compressed frame that contained it, and the next extent. If that is
/// not at its expected position, bytes may be missing from the extent, or have been inserted. Its
/// data is then restored, but not proven.
package final class SalvageReader: ExtentSource {
  package let header: ArchiveHeader
  package private(set) var census: ClusterCensus
  /// The faults of an archive found so far.
  package var faultCount: Int { ownFaults.faultCount + (log?.faultCount ?? 0) }
  /// The text of the first fault; a fault of a compressed frame is the cause of all others.
  package var firstFault: String? {
    headerFault.map { "\($0)" } ?? log?.firstFault ?? ownFaults.firstFault
  }

  private let source: any ByteSource
  private let name: String
  private let log: DamageLog?
  private let ownFaults = DamageLog()
  private let headerFault: FormatError?
  /// The UUID of the archive; nil until an extent provides it, if the header may be damaged.
  private var uuid: ArchiveHeader.UUID? {
    didSet { needle = Needle(uuid) }
  }
  private var needle: Needle
  private var window: Window
  private var spare: [Extent] = []
  private var number = 0

  /// Clusters that were returned, but may be wrong.
  private var unproven: [UInt8: ClusterSet] = [:]
  /// Clusters from a compressed frame that has not ended yet: its end decides.
  private var undecided: [UInt8: ClusterSet] = [:]
  /// A byte in that frame.
  private var undecidedPlace: UInt64 = 0

  /// Extents whose digests may follow.
  private var proofs = PendingProofs()
  private let hash: XXH3

  /// Reads a restored part of a disk, zeros where nothing was restored; false if it cannot be read.
  package var readBack: ((_ device: UInt8, Buffer, Range<Int>, _ offset: UInt64) throws -> Bool)?
  /// Clusters that consist of zeros by their extent's header: they are compared without reading.
  private var zeros: [UInt8: ClusterSet] = [:]
  /// Bytes that were read back. They are limited, because headers can list many clusters in few
  /// bytes.
  private var comparedBytes: UInt64 = 0
  private var scratch: Buffer?

  /// Bytes of headers that were checked although another one may begin within them.
  private var contestedBytes: UInt64 = 0

  private static let windowSize = 12 << 20

  /// The bytes that every header contains, and their position.
  private struct Needle {
    var bytes: [UInt8]
    var position = 0
    var other: [UInt8]
    var distance = 0

    /// The UUID is rarer than the magic, which may fill other data, unless the UUID is that kind of
    /// data itself.
    init(_ uuid: ArchiveHeader.UUID?) {
      bytes = Array("VMAE".utf8)
      other = bytes
      guard let uuid else { return }
      let text = (0..<16).map { UInt8(truncatingIfNeeded: uuid.value >> (8 * (15 - UInt128($0)))) }
      if Set(text).count > 4 {
        (bytes, position, distance) = (text, 8, -8)
      } else {
        (other, distance) = (text, 8)
      }
    }
  }

  /// - Parameters:
  ///   - reader: has read the header of the archive, and no extent.
  ///   - log: what the decompressor knows about the bytes; nil for an uncompressed archive.
  package init(_ reader: ArchiveReader, log: DamageLog? = nil) throws {
    header = reader.header
    headerFault = reader.headerFault
    uuid = reader.headerFault == nil ? reader.header.uuid : nil
    needle = Needle(uuid)
    source = reader.source
    name = reader.name
    self.log = log
    census = try ClusterCensus(reader.header.devices, isSalvaging: true)
    window = try Window(capacity: Self.windowSize, position: reader.parser.position)
    hash = try XXH3()
    spare = [try Extent(), try Extent()]
    if let headerFault { ownFaults.note("\(headerFault)") }
  }

  package func recycle(_ extent: Extent) { spare.append(extent) }

  /// The clusters of a device that were returned, but are not proven; known at the end.
  package func unprovenClusters(of device: ArchiveHeader.Device) -> ClusterSet {
    // Without an intact header, the device and its length are uncertain.
    headerFault == nil
      ? unproven[device.id] ?? ClusterSet(denseCount: nil) : census.clusters(of: device)
  }

  package func next() throws -> Extent? {
    while true {
      try fill(VMAFormat.extentHeaderSize)
      log?.forget(
        before: min(window.position, undecided.isEmpty ? window.position : undecidedPlace))
      guard !window.isEmpty else {
        decide()
        finishProofs()
        return nil
      }
      guard let found = soundHeader(at: 0) else {
        note("no intact extent at byte \(window.position)")
        guard try search(from: 1) != nil else { continue }
        continue
      }
      try fill(VMAFormat.extentHeaderSize + found.dataSize + VMAFormat.extentHeaderSize)
      let extent = try spare.popLast() ?? Extent()
      number += 1
      if try take(found, into: extent) { return extent }
      spare.append(extent)
    }
  }

  /// Removes an extent from the window.
  ///
  /// - Returns: whether any part of it can be used.
  private func take(_ found: ExtentHeader, into extent: Extent) throws -> Bool {
    let headerSize = VMAFormat.extentHeaderSize
    let start = window.position
    // The latest possible end of the data of the extent.
    var end = min(headerSize + found.dataSize, window.count)
    var isSuspect = false
    let gap = log?.gap(in: start..<start + UInt64(headerSize + found.dataSize))
    if let gap {
      end = min(end, max(headerSize, Int(gap - start)))
    } else if let inside = try firstSoundHeader(in: headerSize..<end) {
      note("extent at byte \(start) is incomplete")
      end = inside
      isSuspect = true
    } else if end < headerSize + found.dataSize {
      note("archive is truncated at byte \(start + UInt64(window.count))")
      // The missing bytes may belong before these as well as after them.
      isSuspect = true
    }
    let isWhole = end == headerSize + found.dataSize
    let first = window.unread.lowerBound + headerSize
    extent.buffer.copy(from: window.buffer, first..<first + end - headerSize, to: 0)
    window.drop(end)
    let place = start + UInt64(end)
    if isWhole, !window.isEmpty, !isExtentLike(), log?.gap(in: place - 1..<place + 1) == nil {
      note("no intact extent at byte \(window.position)")
      // Inserted bytes look the same as bytes that were overwritten in place.
      isSuspect = true
      _ = try search(from: 0)
    }
    if let digests = found.digests { return prove(digests) }
    let digest = isWhole ? hash.digest(of: [0..<found.dataSize], in: extent.buffer) : nil
    return accept(
      found, dataCount: end - headerSize, digest: digest, isSuspect: isSuspect, in: extent)
  }

  /// Applies digests to the extents before them.
  ///
  /// - Returns: false, because there is no data.
  private func prove(_ digests: ExtentDigests) -> Bool {
    let faults = proofs.apply(digests) { slot in Self.insert(slot, in: &unproven) }
    for fault in faults { note(fault) }
    return false
  }

  /// At the end: data without a digest is not proven, if the archive has digests and nothing else
  /// proves it.
  private func finishProofs() {
    let isProvenByFrames = log != nil
    let fault = proofs.finish(isProvenOtherwise: isProvenByFrames) { slot in
      Self.insert(slot, in: &unproven)
    }
    if let fault { note(fault) }
  }

  /// Keeps only the clusters of the extent that are present, possible and new, and joins their
  /// blocks.
  ///
  /// - Parameter digest: of all its data; nil if not all of it is present.
  private func accept(
    _ found: ExtentHeader, dataCount: Int, digest: UInt128?, isSuspect: Bool, in extent: Extent
  ) -> Bool {
    decide()
    var suspects: [ExtentHeader.Slot] = []
    var position = 0
    var used = 0
    var kept: [ExtentHeader.Slot] = []
    extent.header = found.filter { slot in
      let length = slot.mask.nonzeroBitCount * VMAFormat.blockSize
      defer { position += length }
      guard position + length <= dataCount else { return false }
      let start = found.dataByte + UInt64(position)
      // The header has a checksum of its own, so zeros are proven.
      let verdict = length == 0 ? .sound : log?.verdict(on: start..<start + UInt64(length))
      if verdict == .filler { return false }
      do throws(FormatError) {
        try census.record(slot, of: found)
        Progress.current.addDisks(UInt64(VMAFormat.clusterSize))
      } catch {
        note("\(error)")
        // The first copy remains, but an equally reliable copy that differs makes it unproven.
        if error.code == .duplicateCluster, verdict != .doubtful, !isSuspect || length == 0,
          kept.contains(where: { $0.device == slot.device && $0.cluster == slot.cluster })
            || !isRestored(slot, at: position, in: extent)
        {
          Self.insert(slot, in: &unproven)
        }
        return false
      }
      if length == 0 { Self.insert(slot, in: &zeros) }
      if verdict == .doubtful {
        Self.insert(slot, in: &unproven)
      } else if isSuspect && length > 0 {
        suspects.append(slot)
      } else if verdict == .open {
        Self.insert(slot, in: &undecided)
        undecidedPlace = start + UInt64(length) - 1
      }
      if position != used {
        extent.buffer.copy(from: extent.buffer, position..<position + length, to: used)
      }
      used += length
      kept.append(slot)
      return true
    }
    if found.blockCount > 0 {
      let leftOver = proofs.add(
        PendingProofs.Entry(
          header: found, digest: digest, restored: kept.filter { $0.mask != 0 },
          suspects: suspects))
      for slot in leftOver { Self.insert(slot, in: &unproven) }
    }
    return !kept.isEmpty
  }

  /// Whether a copy of a cluster equals the restored one; false if unknown.
  ///
  /// - Parameter position: of the copy in the extent's buffer.
  private func isRestored(_ slot: ExtentHeader.Slot, at position: Int, in extent: Extent) -> Bool {
    let cluster = UInt64(slot.cluster)
    if unproven[slot.device]?.contains(cluster) == true { return true }
    if slot.mask == 0, zeros[slot.device]?.contains(cluster) == true { return true }
    guard let device = header.devices.first(where: { $0.id == slot.device }), let readBack,
      comparedBytes < 4 * window.position + UInt64(Self.windowSize)
    else { return false }
    let offset = cluster * UInt64(VMAFormat.clusterSize)
    let rest = device.isVMState ? .max : device.size - offset
    let length = Int(min(UInt64(VMAFormat.clusterSize), rest))
    comparedBytes += UInt64(length)
    do {
      let buffer = try scratch ?? Buffer(capacity: VMAFormat.clusterSize)
      scratch = buffer
      guard try readBack(slot.device, buffer, 0..<length, offset) else { return false }
      var isSame = true
      try ExtentHeader(slots: [slot]).forEachPiece { piece in
        let start = Int(piece.offset - offset)
        // The blocks after the end of the device are not restored.
        guard isSame, start < length else { return }
        let range = start..<min(start + piece.length, length)
        if let place = piece.position {
          isSame = buffer.isEqual(range, to: extent.buffer, at: position + place)
        } else {
          isSame = buffer.isZero(range)
        }
      }
      return isSame
    } catch {
      return false
    }
  }

  private static func insert(_ slot: ExtentHeader.Slot, in sets: inout [UInt8: ClusterSet]) {
    _ = sets[slot.device, default: ClusterSet(denseCount: nil)].insert(UInt64(slot.cluster))
  }

  /// Checks how the frame of the undecided clusters has ended.
  private func decide() {
    guard !undecided.isEmpty, let isSound = log?.isSound(at: undecidedPlace) else { return }
    if !isSound {
      for (device, clusters) in undecided {
        unproven[device, default: ClusterSet(denseCount: nil)].formUnion(clusters)
      }
    }
    undecided = [:]
  }

  private func note(_ fault: String) { ownFaults.note(fault) }

  // MARK: The window

  /// Loads `count` bytes into the window, if that many remain and fit.
  private func fill(_ count: Int) throws {
    _ = try window.fill(min(count, window.capacity)) { [source] buffer, range in
      do {
        return try source.read(into: buffer, range)
      } catch let failure as Failure where failure.status == .inputOutput {
        // Only the data read before is available.
        note(failure.message)
        return 0
      }
    }
  }

  private func soundHeader(at offset: Int) -> ExtentHeader? {
    let start = window.unread.lowerBound + offset
    guard start + VMAFormat.extentHeaderSize <= window.unread.upperBound else { return nil }
    return window.buffer.withBytes(start..<start + VMAFormat.extentHeaderSize) { bytes in
      guard ExtentHeader.isPlausible(bytes, uuid: uuid) else { return nil }
      let uuid = uuid ?? ExtentHeader.uuid(of: bytes)
      do throws(FormatError) {
        let header = try ExtentHeader(
          parsing: bytes, uuid: uuid, digest: MD5.self, number: number,
          byte: window.position + UInt64(offset))
        self.uuid = uuid
        return header
      } catch {
        return nil
      }
    }
  }

  private func isExtentLike() -> Bool {
    let range =
      window.unread
      .lowerBound..<min(
        window.unread.lowerBound + VMAFormat.extentHeaderSize, window.unread.upperBound)
    return window.buffer.withBytes(range) { bytes in
      ExtentHeader.resembles(bytes, uuid: uuid ?? header.uuid)
    }
  }

  /// The first intact header that starts in a range of the window; the window is extended to
  /// contain it.
  private func firstSoundHeader(in range: Range<Int>) throws -> Int? {
    var start = range.lowerBound
    while let offset = candidate(in: start..<range.upperBound) {
      let end = offset + VMAFormat.extentHeaderSize
      if end > window.count { try fill(end) }
      start = offset + 1
      // In 512 bytes full of candidates, only checking the last one ensures that a true header is
      // not missed. The others are checked, too, but not for longer than reading takes.
      if candidate(in: start..<end) != nil {
        guard contestedBytes < window.position + UInt64(Self.windowSize) else { continue }
        contestedBytes += UInt64(VMAFormat.extentHeaderSize)
      }
      if soundHeader(at: offset) != nil { return offset }
    }
    return nil
  }

  /// The first place in a range of the window where something looks like a header.
  private func candidate(in range: Range<Int>) -> Int? {
    let first = window.unread.lowerBound + needle.position
    let start = first + range.lowerBound
    let end = min(first + range.upperBound + needle.bytes.count - 1, window.unread.upperBound)
    guard start < end,
      let place = window.buffer.firstIndex(
        of: needle.bytes, with: needle.other, at: needle.distance, in: start..<end)
    else { return nil }
    return place - first
  }

  /// Moves to the next intact header at or after `offset`.
  ///
  /// - Returns: the number of skipped bytes; nil if none remains.
  private func search(from offset: Int) throws -> UInt64? {
    var passed: UInt64 = 0
    var offset = offset
    while true {
      try fill(offset + VMAFormat.extentHeaderSize)
      if let found = try firstSoundHeader(in: offset..<max(offset, window.count)) {
        window.drop(found)
        return passed + UInt64(found)
      }
      let keep = window.isAtEnd ? 0 : min(VMAFormat.extentHeaderSize, window.count)
      let count = window.count - keep
      window.drop(count)
      passed += UInt64(count)
      offset = 0
      if window.isAtEnd { return nil }
      try fill(window.capacity)
    }
  }
}
