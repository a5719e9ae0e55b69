// SPDX-License-Identifier: Apache-2.0

import Archives
import Compression
import Synchronization
import System
import VMA

/// Bytes in memory, read in pieces of a size that the input chose.
final class MemorySource: ByteSource, Sendable {
  private let bytes: [UInt8]
  private let piece: Int
  private let position = Mutex(0)

  init(_ bytes: [UInt8], piece: Int = .max) {
    self.bytes = bytes
    self.piece = max(piece, 1)
  }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    position.withLock { position in
      let count = min(range.count, piece, bytes.count - position)
      buffer.copy(Array(bytes[position..<position + count]), to: range.lowerBound)
      position += count
      return count
    }
  }
}

extension Target {
  /// An entire archive, possibly damaged, read by the strict reader and by the salvaging one.
  public static let archive = Target(name: "archive") { input in
    var choices = Choices(input)
    let piece = [.max, 1 << 16, 4096, 512, 511, 77][Int(choices.byte() % 6)]
    var archive = try SampleArchive(&choices)
    let isDamaged = try archive.damage(&choices)

    var strict: [Place: [UInt8]] = [:]
    var isComplete = false
    do {
      let source = MemorySource(archive.bytes, piece: piece)
      let reader = try ArchiveReader(source, name: "archive")
      try require(
        isDamaged || reader.header == archive.header, "the header of a sound archive")
      while let extent = try reader.next() {
        try collect(extent, into: &strict, reader.header)
        reader.recycle(extent)
      }
      try reader.census.requireComplete(reader.header.devices, in: "archive")
      isComplete = true
    } catch let failure as Failure {
      try require(failure.status == .badData, "\(failure.message)")
      try require(isDamaged || !archive.isComplete, "\(failure.message)")
    }
    if isComplete {
      try require(isDamaged || archive.isComplete, "an incomplete archive passes")
      if !isDamaged { try require(strict == archive.blocks, "the content of the archive") }
    }
    let parsed = try parse(archive.bytes, piece: piece)
    try require((parsed != nil) == isComplete, "the parser and the reader agree")
    if let parsed { try require(parsed == strict, "the parser and the reader find the same") }

    do {
      let source = MemorySource(archive.bytes, piece: piece)
      let reader = try ArchiveReader(source, name: "archive")
      let salvage = try SalvageReader(reader)
      var found: [Place: [UInt8]] = [:]
      while let extent = try salvage.next() {
        try collect(extent, into: &found, reader.header)
        salvage.recycle(extent)
      }
      _ = salvage.firstFault
      if isComplete {
        try require(found == strict, "what is complete is salvaged as it is read")
        try require(salvage.faultCount == 0, "no fault where nothing is wrong")
      }
    } catch let failure as Failure {
      try require(failure.status == .badData, "\(failure.message)")
      try require(!isComplete, "\(failure.message)")
    }
  }

  /// The first byte of each stored block; nil if the archive is not complete.
  private static func parse(_ bytes: [UInt8], piece: Int) throws -> [Place: [UInt8]]? {
    var parser = ArchiveParser(digest: MD5.self)
    var blocks: [Place: [UInt8]] = [:]
    var rest = bytes[...]
    do throws(FormatError) {
      while !rest.isEmpty {
        let part = Array(rest.prefix(piece))
        rest = rest.dropFirst(part.count)
        var index = 0
        while let event = try parser.next(in: part.span, from: &index) {
          switch event {
          case .header: break
          case .extent(let extent):
            for slot in extent.slots {
              blocks[Place(device: slot.device, cluster: slot.cluster)] = []
            }
          case .zeros: break
          case .data(let device, let offset, let range):
            for (place, byte) in zip(offset..., part[range]) where place % 4096 == 0 {
              let key = Place(device: device, cluster: UInt32(place / 65536))
              blocks[key, default: []].append(byte)
            }
          }
        }
      }
      try parser.finish()
      return blocks
    } catch {
      _ = error.description
      return nil
    }
  }

  private static func collect(
    _ extent: Extent, into blocks: inout [Place: [UInt8]], _ header: ArchiveHeader
  ) throws {
    for slot in extent.header.slots {
      let key = Place(device: slot.device, cluster: slot.cluster)
      try require(blocks[key] == nil, "a cluster comes twice")
      try require(header.devices.contains { $0.id == slot.device }, "a device that is not there")
      blocks[key] = []
    }
    try extent.header.forEachPiece { (piece) throws(Violation) in
      guard let position = piece.position else { return }
      let bytes = extent.buffer.withBytes(position..<position + piece.length) { bytes in
        // One byte distinguishes the blocks.
        stride(from: 0, to: bytes.count, by: 4096).map { bytes[$0] }
      }
      for (index, byte) in bytes.enumerated() {
        let offset = piece.offset + UInt64(index) * 4096
        let key = Place(device: piece.device, cluster: UInt32(offset / 65536))
        blocks[key, default: []].append(byte)
      }
    }
  }
}

struct Place: Hashable {
  var device: UInt8
  var cluster: UInt32
}

/// A small archive that the input describes.
private struct SampleArchive {
  var header: ArchiveHeader
  var bytes: [UInt8]
  /// The first byte of each stored block, for each cluster.
  var blocks: [Place: [UInt8]] = [:]
  var isComplete: Bool
  private var extentStarts: [Int] = []

  init(_ choices: inout Choices) throws {
    var devices: [ArchiveHeader.Device] = []
    for id in 0..<choices.byte() % 3 {
      let isState = choices.byte() % 8 == 0
      devices.append(
        ArchiveHeader.Device(
          id: id + 1,
          name: isState && id == 0 ? VMAFormat.vmstateName : [UInt8(ascii: "d"), id + 48],
          size: UInt64(choices.byte() % 70 + 1) * (choices.byte() % 2 == 0 ? 512 : 65536)))
    }
    header = ArchiveHeader(
      uuid: ArchiveHeader.UUID(UInt128(choices.integer(UInt64.self))), creationTime: 0,
      configs: [ArchiveHeader.Config(name: [97], data: choices.bytes(Int(choices.byte() % 8)))],
      devices: devices)
    bytes = try header.serialized(digest: MD5.self)

    var order = devices.flatMap { device in
      (0..<device.clusterCount).map { Place(device: device.id, cluster: UInt32($0)) }
    }
    let isState = Set(devices.filter(\.isVMState).map(\.id))
    // Any order, except for the VM state.
    for _ in 0..<choices.byte() % 8 where !order.isEmpty {
      let (one, other) = (
        Int(choices.byte()) % order.count, Int(choices.byte()) % order.count
      )
      guard !isState.contains(order[one].device), !isState.contains(order[other].device) else {
        continue
      }
      order.swapAt(one, other)
    }
    let left = choices.byte()
    isComplete = left != 1 || order.isEmpty
    if left == 1 { _ = order.popLast() }
    var rest = order[...]
    while !rest.isEmpty {
      let count = Int(choices.byte() % 59) + 1
      let slots = rest.prefix(count).map { place in
        let device = devices[Int(place.device) - 1]
        let blockCount = min(
          16, (Int(device.size) - Int(place.cluster) * 65536 + 4095) / 4096)
        let wanted = choices.byte() % 4 == 0 ? choices.integer(UInt16.self) : 1
        return ExtentHeader.Slot(
          device: place.device, cluster: place.cluster,
          mask: wanted & (device.isVMState ? .max : UInt16.max >> UInt16(16 - blockCount)))
      }
      rest = rest.dropFirst(count)
      extentStarts.append(bytes.count)
      bytes += try ExtentHeader(slots: slots).serialized(uuid: header.uuid, digest: MD5.self)
      for slot in slots {
        let fill = (0..<slot.mask.nonzeroBitCount).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
        for byte in fill { bytes += repeatElement(byte, count: 4096) }
        blocks[Place(device: slot.device, cluster: slot.cluster)] = fill
      }
    }
  }

  /// - Returns: whether anything has changed.
  mutating func damage(_ choices: inout Choices) throws -> Bool {
    let original = bytes
    while !choices.isEmpty, bytes.count < 4 << 20 {
      let kind = choices.byte()
      // Mostly near the start of an extent, in its header.
      let start = extentStarts.isEmpty ? 0 : extentStarts[Int(choices.byte()) % extentStarts.count]
      let place = min(start + Int(choices.number() % 70000), bytes.count)
      let count = min(Int(choices.number() % 70000), bytes.count - place)
      switch kind % 8 {
      case 0: patch(&bytes, at: place, choices.byte())
      case 1: bytes.removeSubrange(place..<place + count)
      case 2: bytes.insert(contentsOf: choices.bytes(count), at: place)
      case 3: bytes.removeSubrange(place...)
      case 4: bytes.insert(contentsOf: Array(bytes[place..<place + count]), at: place)
      case 5: bytes.append(contentsOf: Array(bytes[place..<place + count]))
      case 6: bytes.replaceSubrange(place..<place + count, with: repeatElement(0, count: count))
      default:
        // A field of an extent, with the right checksum.
        guard start > 0, start + 512 <= bytes.count else { continue }
        patch(&bytes, at: start + Int(choices.byte()) * 2, choices.integer(UInt16.self))
        var digest = MD5()
        var header = Array(bytes[start..<start + 512])
        header.replaceSubrange(24..<40, with: repeatElement(0, count: 16))
        digest.update(header.span)
        patch(&bytes, at: start + 24, digest.finish())
      }
    }
    return bytes != original
  }
}
