// SPDX-License-Identifier: Apache-2.0

package import System
package import VMA

/// What is where in a seekable archive, found by its extent headers alone: data is not read.
///
/// Memory is what `DataRun` takes for clusters that are stored, and the bits of the census; zero
/// clusters take nothing more.
package struct ArchiveIndex {
  package private(set) var census: ClusterCensus
  package private(set) var extentCount = 0
  /// Where the archive ends in the middle of an extent, if that is tolerated.
  package private(set) var truncation: Failure?
  /// The runs of each device by its id; nil where they are not wanted.
  private var runs = [[DataRun]?](repeating: nil, count: 256)

  /// Reads and checks all extent headers of an archive.
  ///
  /// - Parameters:
  ///   - file: the archive, uncompressed, from its byte 0.
  ///   - reader: which has read its header.
  ///   - devices: whose data is to be found later.
  ///   - toleratesTruncation: whether an archive may end in the middle of an extent.
  package init(
    _ file: Descriptor, reader: ArchiveReader, devices: [Device], toleratesTruncation: Bool = false
  ) throws {
    census = ClusterCensus(reader.header.devices)
    let fileSize = try file.size()
    for device in devices { runs[Int(device.id)] = [] }

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
        // If bytes are missing, they may be missing anywhere in the extent: none of it is used.
        guard UInt64(header.dataSize) <= fileSize - data else {
          throw Fault.truncated(expected: header.dataSize, found: Int(fileSize - data))
        }
        try census.record(header)
        try header.forEachRun(from: data) { run, id in
          try Self.append(run, to: &runs[Int(id)])
        }
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
    for id in runs.indices { runs[id]?.sort() }
  }

  /// Doubles an array that is full, if the memory can be had.
  private static func append(_ run: DataRun, to runs: inout [DataRun]?) throws(Failure) {
    guard let count = runs?.count, let capacity = runs?.capacity else { return }
    if count == capacity {
      let larger = max(2 * capacity, Format.slotsPerExtent)
      try Host.requireMemory(larger * MemoryLayout<DataRun>.stride)
      runs?.reserveCapacity(larger)
    }
    runs?.append(run)
  }

  /// The stored data of a device, in disk order.
  package func disk(_ device: Device, in file: Descriptor) -> OrderedDisk {
    OrderedDisk(
      file: file, runs: runs[Int(device.id)] ?? [], size: census.length(of: device), frees: nil)
  }
}
