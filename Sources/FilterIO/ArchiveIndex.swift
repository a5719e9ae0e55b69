// SPDX-License-Identifier: Apache-2.0

internal import MD5
public import VMA

/// Stored clusters of one device that lie one after another in a file: 16 bytes, however many.
public struct DataRun: Hashable, Comparable, Sendable {
  /// Where the data of the run starts in the file, in bytes.
  public var position: UInt64
  /// The first cluster.
  public var cluster: UInt32
  /// Clusters in the run; more than one only where all their blocks are stored.
  public var clusterCount: UInt16
  /// The stored blocks of the only cluster, or all ones.
  public var mask: UInt16

  /// Bytes in the file.
  public var length: Int { Int(clusterCount) * mask.nonzeroBitCount * Format.blockSize }
  /// The cluster after the run.
  public var end: UInt64 { UInt64(cluster) + UInt64(clusterCount) }
  /// The extent header that would go with the run, to take it apart by.
  func pieces(_ body: (Piece) throws -> Void) rethrows {
    let slots = (0..<UInt32(clusterCount)).map {
      Slot(device: 1, cluster: cluster + $0, mask: mask)
    }
    for start in stride(from: 0, to: slots.count, by: Format.slotsPerExtent) {
      let part = slots[start..<min(start + Format.slotsPerExtent, slots.count)]
      let before = start * mask.nonzeroBitCount * Format.blockSize
      try ExtentHeader(slots: Array(part)).forEachPiece { piece in
        guard var place = piece.position else { return }
        place += before
        try body(Piece(device: 1, offset: piece.offset, length: piece.length, position: place))
      }
    }
  }

  public static func < (left: DataRun, right: DataRun) -> Bool {
    left.cluster < right.cluster
  }
}

extension ExtentHeader {
  /// The first slots, as many as have all their blocks in so many bytes.
  fileprivate func prefix(ofBytes count: Int) -> ExtentHeader {
    var rest = count
    return ExtentHeader(
      slots: Array(
        slots.prefix { slot in
          rest -= slot.mask.nonzeroBitCount * Format.blockSize
          return rest >= 0
        }))
  }

  /// The runs of one device in an extent, in the order of its slots.
  ///
  /// - Parameter start: where the blocks of the extent lie in the file (or buffer).
  func forEachRun(of device: UInt8, from start: UInt64, _ body: (DataRun) throws -> Void) rethrows {
    var position = start
    var pending: DataRun?
    for slot in slots {
      defer { position += UInt64(slot.mask.nonzeroBitCount * Format.blockSize) }
      guard slot.device == device, slot.mask != 0 else { continue }
      if let run = pending, run.end == UInt64(slot.cluster), run.mask == .max, slot.mask == .max,
        run.position + UInt64(run.length) == position
      {
        pending?.clusterCount += 1
        continue
      }
      if let run = pending { try body(run) }
      pending = DataRun(position: position, cluster: slot.cluster, clusterCount: 1, mask: slot.mask)
    }
    if let run = pending { try body(run) }
  }
}

/// What is where in a seekable archive, found by its extent headers alone: data is not read.
///
/// Memory is what `DataRun` takes for clusters that are stored, and the bits of the census; zero
/// clusters take nothing more.
public struct ArchiveIndex {
  public private(set) var census: ClusterCensus
  public private(set) var extentCount = 0
  /// Where the archive ends in the middle of an extent, if that is tolerated.
  public private(set) var truncation: Failure?
  private var runs: [UInt8: [DataRun]] = [:]

  /// Reads and checks all extent headers of an archive.
  ///
  /// - Parameters:
  ///   - file: the archive, uncompressed, from its byte 0.
  ///   - reader: which has read its header.
  ///   - devices: whose data is to be found later.
  ///   - toleratesTruncation: whether an archive may end in the middle of an extent.
  public init(
    _ file: Descriptor, reader: ArchiveReader, devices: [Device], toleratesTruncation: Bool = false
  ) throws {
    census = ClusterCensus(reader.header.devices)
    let fileSize = try file.size()
    let wanted = devices.map(\.id)
    for id in wanted { runs[id] = [] }

    // Extents of zeros are headers without blocks, one behind the other: a window of many.
    let window = try Buffer(capacity: 512 * Format.extentHeaderSize)
    var windowStart: UInt64 = 0
    var windowCount = 0
    var byte = UInt64(reader.headerSize)
    var isDense = false
    while byte < fileSize {
      if byte + UInt64(Format.extentHeaderSize) > windowStart + UInt64(windowCount)
        || byte < windowStart
      {
        windowStart = byte
        // Not beyond the size that was asked for once: the file may grow meanwhile.
        let wanted = isDense ? window.capacity : Format.extentHeaderSize
        windowCount = try file.read(
          into: window, 0..<Int(min(UInt64(wanted), fileSize - byte)), at: byte)
      }
      do {
        let place = Int(byte - windowStart)
        let header = try window.withBytes(
          place..<min(place + Format.extentHeaderSize, windowCount)
        ) { (bytes) throws(Fault) in
          try ExtentHeader(parsing: bytes, uuid: reader.header.uuid, digest: MD5.self)
        }
        let data = byte + UInt64(Format.extentHeaderSize)
        let isCut = UInt64(header.dataSize) > fileSize - data
        let there = isCut ? header.prefix(ofBytes: Int(fileSize - data)) : header
        try census.record(there)
        for id in wanted {
          try Self.makeRoom(for: header.slots.count, in: &runs[id, default: []])
          there.forEachRun(of: id, from: data) { runs[id]?.append($0) }
        }
        if isCut { throw Fault.truncated(expected: header.dataSize, found: Int(fileSize - data)) }
        byte = data + UInt64(header.dataSize)
        isDense = header.blockCount == 0
        extentCount += 1
      } catch let fault as Fault {
        let failure = Failure(reader.name, FormatError(fault, in: .extent(extentCount), at: byte))
        guard failure.isTruncation else { throw failure }
        truncation = failure.naming(census.incomplete(of: reader.header), as: "incomplete")
        if let truncation, !toleratesTruncation { throw truncation }
        break
      }
    }
    for id in wanted { runs[id]?.sort() }
  }

  /// Doubles an array that is full, if the memory can be had.
  private static func makeRoom(for count: Int, in runs: inout [DataRun]) throws(Failure) {
    guard runs.capacity - runs.count < count else { return }
    let capacity = max(2 * runs.capacity, runs.count + count)
    try Host.requireMemory(capacity * MemoryLayout<DataRun>.stride)
    runs.reserveCapacity(capacity)
  }

  /// The stored data of a device, in disk order.
  public func disk(_ device: Device, in file: Descriptor) -> OrderedDisk {
    OrderedDisk(
      file: file, runs: runs[device.id] ?? [], size: census.length(of: device), frees: nil)
  }
}
