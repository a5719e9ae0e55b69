// SPDX-License-Identifier: Apache-2.0

package import Compression
import System
package import VMA

/// Reads an archive front to back, from a pipe as well as from a file, on a thread of its own.
package final class ArchiveReader: ExtentSource {
  /// How the archive is called in messages.
  package let name: String
  package let header: ArchiveHeader
  /// What is wrong with the header, where it is used all the same; nil for a sound one.
  package let headerFault: FormatError?
  /// Bytes of the header; the first extent follows.
  package let headerSize: Int
  package private(set) var census: ClusterCensus
  let source: any ByteSource
  private let keepsData: Bool
  private var thread: Thread?
  private let free = Channel<Extent>(isStack: true)
  private let full = Channel<Extent>()

  /// Extents in memory, about 3.7 MiB each: one is read, one is worked on, one waits.
  private static let extentCount = 4

  /// Reads the header and nothing else.
  ///
  /// - Parameters:
  ///   - source: the uncompressed archive.
  ///   - name: of the archive, for messages.
  ///   - keepsData: whether the extents are to have their blocks; without them they are read all
  ///     the same.
  ///   - salvagesHeader: whether what can be read of a damaged header is enough.
  /// - Throws: `Failure` 65 where this is no sound header.
  package init(
    _ source: any ByteSource, name: String, keepsData: Bool = true, salvagesHeader: Bool = false
  ) throws {
    self.source = source
    self.keepsData = keepsData
    self.name = name
    let fixed = try Buffer(capacity: Format.fixedHeaderSize)
    let count = try source.readFully(into: fixed, 0..<fixed.capacity)
    guard count > 0 else { throw Failure(.badData, "\(name): is empty") }
    do {
      headerSize = try fixed.withBytes(0..<count) { (bytes) throws(FormatError) in
        try ArchiveHeader.byteCount(fixedPart: bytes)
      }
      let buffer = try Buffer(capacity: headerSize)
      // For the configs, which may fill all of it.
      try Host.requireMemory(2 * headerSize)
      buffer.copy(from: fixed, 0..<count, to: 0)
      let rest = try source.readFully(into: buffer, count..<headerSize)
      let size = headerSize
      (header, headerFault) = try buffer.withBytes(0..<count + rest) {
        (bytes) throws(FormatError) in
        do throws(FormatError) {
          return (try ArchiveHeader(parsing: bytes, digest: MD5.self), nil)
        } catch {
          guard salvagesHeader, bytes.count == size else { throw error }
          let header = ArchiveHeader(salvaging: bytes)
          guard !header.devices.isEmpty || !header.configs.isEmpty else { throw error }
          return (header, error)
        }
      }
    } catch let error as FormatError {
      throw Failure(name, error)
    }
    try Host.requireMemory(ClusterCensus.memory(for: header.devices))
    census = ClusterCensus(header.devices)
  }

  /// Refuses an archive that is too short to hold what it claims, before any of that is allocated.
  ///
  /// - Parameters:
  ///   - fileSize: bytes of the uncompressed archive.
  ///   - devices: those that must be complete.
  package func checkLength(fileSize: UInt64, devices: [Device]) throws {
    let needed = ClusterCensus.leastExtentBytes(devices)
    let found = fileSize - min(fileSize, UInt64(headerSize))
    if found < needed {
      let failure = Failure(
        name, FormatError(.tooShort(needed: needed, found: found), in: .archive, at: fileSize))
      throw failure.naming(devices, as: "incomplete")
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
    } catch {
      throw Failure(name, FormatError(error, in: .extent(extent.number), at: extent.byte))
    }
    return extent
  }

  package func recycle(_ extent: Extent) {
    free.send(extent)
  }

  // A reader that is left before the end must not leave its thread and its memory behind.
  deinit { free.finish() }

  private func start() throws {
    for _ in 0..<Self.extentCount { free.send(try Extent()) }
    let scanner = try ExtentScanner(
      source: source, name: name, uuid: header.uuid, start: UInt64(headerSize),
      keepsData: keepsData)
    let (free, full) = (free, full)
    thread = try Thread {
      do {
        while let extent = try free.receive(), try scanner.read(into: extent) {
          full.send(extent)
        }
        full.finish()
      } catch {
        full.finish(.failure(error))
      }
    }
  }
}
