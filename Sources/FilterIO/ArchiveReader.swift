// SPDX-License-Identifier: Apache-2.0

internal import MD5
public import VMA

/// An extent of an archive, in memory.
public final class Extent: @unchecked Sendable {
  public internal(set) var header = ExtentHeader(slots: [])
  /// Counted from 0.
  public internal(set) var number = 0
  /// Where the extent starts in the archive.
  public internal(set) var byte: UInt64 = 0
  /// The blocks, from the start of the buffer; after them there is room for one extent header.
  public let buffer: Buffer

  init() throws {
    buffer = try Buffer(
      capacity: Format.blocksPerExtent * Format.blockSize + Format.extentHeaderSize)
  }
}

/// Extents that come one after another: of a sound archive, or what is left of a damaged one.
public protocol ExtentSource: AnyObject {
  var header: ArchiveHeader { get }
  /// Of all extents that `next` has returned.
  var census: ClusterCensus { get }
  /// The next extent; nil at the end.
  func next() throws -> Extent?
  /// Gives an extent back, whose memory is used for one to come.
  func recycle(_ extent: Extent)
}

extension ClusterCensus {
  /// Checks that all clusters of some devices came.
  ///
  /// - Parameter archive: its name, for the message.
  /// - Throws: `Failure` 65.
  public func requireComplete(_ devices: [Device], in archive: String) throws {
    do {
      try checkComplete(devices)
    } catch {
      let failure = Failure(archive, FormatError(error, in: .archive, at: 0))
      // It tells of the first.
      throw failure.naming(devices.filter { !isComplete($0) }.dropFirst(), as: "also incomplete")
    }
  }
}

extension ClusterCensus {
  func incomplete(of header: ArchiveHeader) -> [Device] {
    header.devices.filter { !isComplete($0) }
  }
}

extension Failure {
  /// The same, with the drives that it concerns.
  func naming(_ devices: some Collection<Device>, as what: String) -> Failure {
    guard !devices.isEmpty else { return self }
    var failure = self
    failure.message += " (\(what): \(ArchiveHeader.list(devices.map(\.name))))"
    return failure
  }
}

/// Reads an archive front to back, from a pipe as well as from a file, on a thread of its own.
public final class ArchiveReader: ExtentSource {
  /// How the archive is called in messages.
  public let name: String
  public let header: ArchiveHeader
  /// What is wrong with the header, where it is used all the same; nil for a sound one.
  public let headerFault: FormatError?
  /// Bytes of the header; the first extent follows.
  public let headerSize: Int
  public private(set) var census: ClusterCensus
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
  public init(
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
  public func checkLength(fileSize: UInt64, devices: [Device]) throws {
    let needed = ClusterCensus.leastExtentBytes(devices)
    let found = fileSize - min(fileSize, UInt64(headerSize))
    if found < needed {
      let failure = Failure(
        name, FormatError(.tooShort(needed: needed, found: found), in: .archive, at: fileSize))
      throw failure.naming(devices, as: "incomplete")
    }
  }

  /// The next extent, checked against the header and all extents before it.
  public func next() throws -> Extent? {
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

  public func recycle(_ extent: Extent) {
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

/// Cuts a stream into extents. The header of an extent is read together with the blocks of the one
/// before it, so that each extent takes one read of a file.
private final class ExtentScanner: @unchecked Sendable {
  private let source: any ByteSource
  private let name: String
  private let uuid: UUID
  private var byte: UInt64
  private var number = 0
  private let headerBytes: Buffer
  /// How many bytes of the next header are there; nil before the first read.
  private var headerCount: Int?
  /// What is read at once of blocks that nobody needs: it stays in the processor's cache.
  private static let discardSize = 1 << 19
  private let keepsData: Bool

  init(source: any ByteSource, name: String, uuid: UUID, start: UInt64, keepsData: Bool) throws {
    headerBytes = try Buffer(capacity: Format.extentHeaderSize)
    self.keepsData = keepsData
    self.source = source
    self.name = name
    self.uuid = uuid
    byte = start
  }

  /// - Returns: false at the end of the archive.
  func read(into extent: Extent) throws -> Bool {
    let headerCount =
      try headerCount ?? source.readFully(into: headerBytes, 0..<headerBytes.capacity)
    guard headerCount > 0 else { return false }
    let failing = { [name, number, byte] (fault: Fault) in
      Failure(name, FormatError(fault, in: .extent(number), at: byte))
    }
    do {
      extent.header = try headerBytes.withBytes(0..<headerCount) { [uuid] (bytes) throws(Fault) in
        try ExtentHeader(parsing: bytes, uuid: uuid, digest: MD5.self)
      }
    } catch {
      throw failing(error)
    }
    extent.number = number
    extent.byte = byte

    let size = extent.header.dataSize
    let discarded = try keepsData ? 0 : discard(size, in: extent.buffer)
    let rest = size - discarded
    let count = try source.readFully(into: extent.buffer, 0..<rest + Format.extentHeaderSize)
    guard count >= rest else {
      throw failing(.truncated(expected: size, found: discarded + count))
    }
    headerBytes.copy(from: extent.buffer, rest..<count, to: 0)
    self.headerCount = count - rest
    byte += UInt64(Format.extentHeaderSize + size)
    number += 1
    return true
  }

  /// Reads bytes and forgets them, but for the last few, which are read with the next header.
  ///
  /// - Returns: the bytes read, fewer than `size`.
  private func discard(_ size: Int, in buffer: Buffer) throws -> Int {
    var done = 0
    while size - done > Self.discardSize {
      let count = try source.readFully(into: buffer, 0..<Self.discardSize)
      done += count
      if count < Self.discardSize { break }
    }
    return done
  }
}
