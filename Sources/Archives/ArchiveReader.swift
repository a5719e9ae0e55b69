// SPDX-License-Identifier: Apache-2.0

package import Compression
import System
package import VMA

/// Reads an archive sequentially, from a pipe as well as from a file, on a thread of its own.
package final class ArchiveReader: ExtentSource {
  /// The name of the archive in messages.
  package let name: String
  package let header: ArchiveHeader
  /// Has read the header, and nothing else.
  let parser: ArchiveParser
  package private(set) var census: ClusterCensus
  /// The fault of the header, if it is used despite that; nil for an intact one.
  package var headerFault: FormatError? { parser.headerFault }
  let source: any ByteSource
  private let keepsData: Bool
  private var thread: Thread?
  private var checker: Thread?
  private var scanner: ExtentScanner?
  /// The devices whose data is compared with the digests of the archive, if it has any: all, unless
  /// this is changed before the first extent is read. An extent that also holds data of others is
  /// compared, too.
  package var checkedDevices: [ArchiveHeader.Device]
  private let free = Channel<Extent>(isStack: true)
  private let full = Channel<Extent>()

  /// Extents in memory, about 3.7 MiB each: one being read, one being compared, one being
  /// processed, one waiting.
  private static let extentCount = 4

  /// Reads only the header.
  ///
  /// - Parameters:
  ///   - source: the uncompressed archive.
  ///   - name: of the archive, for messages.
  ///   - keepsData: whether to keep the blocks of the extents; they are read in any case.
  ///   - salvagesHeader: whether to accept a damaged header as far as it can be read.
  /// - Throws: `Failure` 65 if this is not an intact header.
  package init(
    _ source: any ByteSource, name: String, keepsData: Bool = true, salvagesHeader: Bool = false
  ) throws {
    self.source = source
    self.keepsData = keepsData
    self.name = name
    do {
      (header, parser) = try Self.readHeader(source, salvages: salvagesHeader)
      checkedDevices = header.devices
      try Host.requireMemory(ClusterCensus.memory(for: header.devices))
      census = try ClusterCensus(header.devices)
      Progress.current.expectDisks(header.devices.reduce(0) { $0 &+ $1.size })
    } catch let error as FormatError {
      throw Failure(name, error)
    }
  }

  private static func readHeader(
    _ source: any ByteSource, salvages: Bool
  ) throws -> (ArchiveHeader, ArchiveParser) {
    // The clusters are counted when the extents are used: the parser is ahead of that.
    var parser = ArchiveParser(digest: MD5.self, countsClusters: false, salvagesHeader: salvages)
    while true {
      // For the configuration files, which may use all of it.
      try Host.requireMemory(3 * parser.neededCount)
      let buffer = try Buffer(capacity: parser.neededCount)
      let count = try source.readFully(into: buffer, 0..<buffer.capacity)
      try buffer.withBytes(0..<count) { (bytes) throws(FormatError) in
        var index = 0
        _ = try parser.next(in: bytes, from: &index)
        if bytes.isEmpty { try parser.checkEnd() }
      }
      if let header = parser.header { return (header, parser) }
    }
  }

  /// Rejects an archive that is too short for its claimed content, before memory is allocated for
  /// it.
  ///
  /// - Parameters:
  ///   - size: the size of the uncompressed archive in bytes.
  ///   - devices: those that must be complete.
  package func checkLength(size: UInt64, devices: [ArchiveHeader.Device]) throws {
    do {
      try ClusterCensus.checkExtentBytes(
        size - min(size, parser.position), for: devices)
    } catch {
      throw Failure(name, error).naming(devices, as: "incomplete")
    }
  }

  /// The next extent, checked against the header and all extents before it.
  package func next() throws -> Extent? {
    if thread == nil { try start() }
    let received: Extent?
    do {
      received = try full.receive()
    } catch let failure as Failure where failure.isTruncation {
      throw failure.naming(census.incomplete(of: header), as: "incomplete")
    }
    guard let extent = received else { return nil }
    do {
      try census.record(extent.header)
      Progress.current.addDisks(UInt64(extent.header.slots.count * VMAFormat.clusterSize))
    } catch {
      throw Failure(name, error)
    }
    return extent
  }

  package func recycle(_ extent: Extent) {
    free.send(extent)
  }

  /// Checks that all of some devices was read, and that digests cover it if the archive has any. The
  /// end of the archive must have been reached.
  package func requireComplete(_ devices: [ArchiveHeader.Device]) throws {
    try census.requireComplete(devices, in: name)
    try scanner?.checkDigestsAtEnd()
  }

  /// Bytes of stored data that were compared with digests, and all bytes of stored data; the end of
  /// the archive must have been reached.
  package var coverage: (compared: UInt64, total: UInt64) {
    (scanner?.ledger.comparedBytes ?? 0, scanner?.ledger.totalBytes ?? 0)
  }

  // If reading stops before the end, the thread and its memory must be released, too.
  deinit { free.finish() }

  private func start() throws {
    for _ in 0..<Self.extentCount { free.send(try Extent()) }
    let scanner = try ExtentScanner(
      source: source, name: name, parser: parser, keepsData: keepsData,
      checkedDevices: checkedDevices)
    self.scanner = scanner
    let (free, full) = (free, full)
    // Digests are compared while the next extent is read.
    let loaded = Channel<Extent>()
    checker = try Thread {
      do {
        while let extent = try loaded.receive() {
          try scanner.check(extent)
          full.send(extent)
        }
        full.finish()
      } catch {
        full.finish(.failure(error))
      }
    }
    thread = try Thread {
      do {
        while let extent = try free.receive(), try scanner.read(into: extent) {
          loaded.send(extent)
        }
        loaded.finish()
      } catch {
        loaded.finish(.failure(error))
      }
    }
  }
}
