// SPDX-License-Identifier: Apache-2.0

package import Compression
package import System
package import VMA

/// The positions of all data in a seekable archive, from its extent headers alone: data is not
/// read.
///
/// It needs the memory of `DataRun` for stored clusters, and the bits of the census; zero clusters
/// need no memory.
package struct ArchiveIndex {
  package private(set) var census: ClusterCensus
  package private(set) var extentCount = 0
  /// Where the archive ends in the middle of an extent, if that is allowed.
  package private(set) var truncation: Failure?
  /// The runs of each device by its ID; nil if they are not needed.
  private var runs = [[DataRun]?](repeating: nil, count: 256)
  private var ledger = DigestLedger()
  private let name: String
  /// Compares the data of the devices with the digests of the archive as it is read; nil if that is
  /// not wanted.
  package private(set) var digestCheck: DigestCheck?

  /// Reads and checks all extent headers of an archive.
  ///
  /// - Parameters:
  ///   - access: the uncompressed archive, from its byte 0.
  ///   - reader: has read the header of the archive.
  ///   - devices: whose data must be found later.
  ///   - toleratesTruncation: whether an archive may end in the middle of an extent.
  ///   - checksData: whether all data of the devices will be read, so that it can be compared with
  ///     the digests of the archive.
  package init(
    _ access: any RandomAccess, reader: ArchiveReader, devices: [ArchiveHeader.Device],
    toleratesTruncation: Bool = false, checksData: Bool = false
  ) throws {
    name = reader.name
    let ids = Set(devices.map(\.id))
    var covered: [DigestCheck.Extent] = []
    census = try ClusterCensus(reader.header.devices)
    var parser = reader.parser
    let fileSize = access.size
    for device in devices { runs[Int(device.id)] = [] }

    // Extents of zeros are headers without blocks, one after the other: a window contains many.
    let window = try Buffer(capacity: 512 * VMAFormat.extentHeaderSize)
    var windowStart: UInt64 = 0
    var windowCount = 0
    var byte = parser.position
    var isDense = false
    while byte < fileSize {
      if byte + UInt64(VMAFormat.extentHeaderSize) > windowStart + UInt64(windowCount)
        || byte < windowStart
      {
        windowStart = byte
        // Only up to the original size: the file may grow meanwhile.
        let least = UInt64(VMAFormat.extentHeaderSize)
        let wanted = isDense ? min(UInt64(window.capacity), access.contiguous(from: byte)) : least
        windowCount = try access.read(
          into: window, 0..<Int(min(max(wanted, least), fileSize - byte)), at: byte)
      }
      do {
        let place = Int(byte - windowStart)
        let next = try window.withBytes(
          place..<min(place + VMAFormat.extentHeaderSize, windowCount)
        ) { (bytes) throws(FormatError) in try parser.nextExtent(in: bytes) }
        // The file has become shorter: clusters are missing.
        guard let header = next else { break }
        // Missing bytes may be missing anywhere in the extent, so none of it is used.
        parser.skipData(Int(min(UInt64(header.dataSize), fileSize - header.dataByte)))
        try parser.checkEnd()
        try census.record(header)
        try covered.makeRoom(for: ExtentDigests.capacity)
        try ledger.record(header) { extent, digest in
          guard checksData, extent.hasData(of: ids) else { return }
          covered.append(
            DigestCheck.Extent(
              digest: digest, start: extent.dataByte, length: UInt32(extent.dataSize),
              number: UInt32(truncatingIfNeeded: extent.number)))
        }
        try header.forEachRun(from: header.dataByte) { run, id in
          try Self.append(run, to: &runs[Int(id)])
        }
        byte = parser.position
        isDense = header.blockCount == 0
        extentCount += 1
      } catch let error as FormatError {
        let failure = Failure(reader.name, error)
        guard failure.isTruncation else { throw failure }
        truncation = failure.naming(census.incomplete(of: reader.header), as: "incomplete")
        if let truncation, !toleratesTruncation { throw truncation }
        break
      }
    }
    for id in runs.indices { runs[id]?.sort() }
    if checksData {
      digestCheck = DigestCheck(access, reader.header, name: reader.name, extents: covered)
    }
  }

  /// Finds the data that a damaged or incomplete archive still contains.
  ///
  /// - Parameters:
  ///   - access: the uncompressed archive, from its byte 0.
  ///   - reader: has read the header of the archive, which must be intact.
  ///   - devices: whose data must be found later.
  package init(
    remainsOf access: any RandomAccess, reader: ArchiveReader, devices: [ArchiveHeader.Device]
  ) throws {
    name = reader.name
    var runs = [[DataRun]?](repeating: nil, count: 256)
    for device in devices { runs[Int(device.id)] = [] }
    var finder = try RemainsFinder(access, reader.header)
    try finder.run(from: reader.parser.position) { run, device in
      try Self.append(run, to: &runs[Int(device)])
    }
    for id in runs.indices { runs[id]?.sort() }
    self.runs = runs
    census = finder.census
    extentCount = finder.extentCount
  }

  /// Checks that all of some devices is present, and that digests cover it if the archive has any.
  package func requireComplete(_ devices: [ArchiveHeader.Device]) throws {
    try census.requireComplete(devices, in: name)
    do throws(FormatError) {
      try ledger.checkEnd(devices)
    } catch {
      throw Failure(name, error)
    }
  }

  /// The index for reading all of some devices, one after another, of a complete archive.
  ///
  /// - Returns: nil if the archive cannot be read at any offset, or if it is compressed and data of a
  ///   device is out of order: then the same data would be decoded again and again.
  package static func forWhole(
    _ devices: [ArchiveHeader.Device], of input: Input, _ reader: ArchiveReader
  ) throws -> (index: ArchiveIndex, access: any RandomAccess)? {
    guard let access = try input.accessToHeaders else { return nil }
    try reader.checkLength(size: access.size, devices: devices)
    let index = try ArchiveIndex(access, reader: reader, devices: devices, checksData: true)
    try index.requireComplete(devices)
    let isCompressed = input.size == nil
    return !isCompressed || index.isInDiskOrder(devices) ? (index, access) : nil
  }

  private func isInDiskOrder(_ devices: [ArchiveHeader.Device]) -> Bool {
    devices.allSatisfy { device in
      let runs = runs[Int(device.id)] ?? []
      return zip(runs, runs.dropFirst()).allSatisfy { $0.position < $1.position }
    }
  }

  private static func append(_ run: DataRun, to runs: inout [DataRun]?) throws(Failure) {
    try runs?.makeRoom(for: 1)
    runs?.append(run)
  }

  /// The stored data of a device, in disk order.
  package func disk(
    _ device: ArchiveHeader.Device, in access: any RandomAccess
  ) -> OrderedDisk {
    OrderedDisk(
      access: access, runs: runs[Int(device.id)] ?? [], size: census.length(of: device), frees: nil,
      check: digestCheck)
  }

  /// The content of a device, for reads at any offset.
  package func reader(
    of device: ArchiveHeader.Device, in access: any RandomAccess
  ) -> DiskReader {
    DiskReader(access: access, runs: runs[Int(device.id)] ?? [], device: device, census: census)
  }
}
