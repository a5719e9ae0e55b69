// SPDX-License-Identifier: Apache-2.0

/// Reads an archive from bytes that arrive in pieces of any size.
///
/// The parser does no input or output, and copies no data: it reports where in the given bytes the
/// data of a device is. Together with ``finish(requiring:)`` it checks all that can be checked.
///
/// <doc:ReadAnArchive> has an example.
public struct ArchiveParser: Sendable {
  /// What the parser has found.
  public enum Event: Hashable, Sendable {
    /// The header of the archive.
    case header(ArchiveHeader)
    /// An extent begins. Its data follows, unless ``ArchiveParser/skipData(_:)`` skips it.
    case extent(ExtentHeader)
    /// Data of a device: `range` of the given bytes belongs at byte `offset` of the device.
    case data(device: UInt8, offset: UInt64, range: Range<Int>)
    /// Bytes of a device that are zero.
    case zeros(device: UInt8, offset: UInt64, length: Int)
  }

  private enum State: Sendable {
    case header, extentHeader, data
  }

  private let digest: any MessageDigest.Type
  private let countsClusters: Bool
  private let salvagesHeader: Bool
  private var state = State.header
  /// The first error, which all later calls repeat.
  private var failure: FormatError?
  /// Bytes of a header that is not complete yet.
  private var partial: [UInt8] = []
  /// Bytes of the archive's header.
  private var headerSize = VMAFormat.fixedHeaderSize
  private var census: ClusterCensus?
  private var ledger = DigestLedger()
  private var extentCount = 0
  private var cursor = PieceCursor()

  /// The header of the archive, once an event has reported it.
  public private(set) var header: ArchiveHeader?
  /// The fault of a header that is used despite it.
  package private(set) var headerFault: FormatError?
  /// Bytes of the archive before the current header or data.
  private var start: UInt64 = 0

  /// Bytes of the archive that were consumed or skipped.
  public var position: UInt64 { start + UInt64(partial.count) }

  /// - Parameter digest: an implementation of MD5.
  public init(digest: any MessageDigest.Type) {
    self.init(digest: digest, countsClusters: true)
  }

  /// - Parameters:
  ///   - countsClusters: false if the caller counts them when it uses the extents.
  ///   - salvagesHeader: accepts a damaged header if any part of it is readable.
  package init(
    digest: any MessageDigest.Type, countsClusters: Bool, salvagesHeader: Bool = false
  ) {
    self.digest = digest
    self.countsClusters = countsClusters
    self.salvagesHeader = salvagesHeader
  }

  /// Bytes that complete the current header or the data of the current extent. A caller that
  /// provides exactly these bytes gets headers and extents one at a time.
  public var neededCount: Int {
    switch state {
    case .header: headerSize - partial.count
    case .extentHeader: VMAFormat.extentHeaderSize - partial.count
    case .data: cursor.dataRest
    }
  }

  /// Consumes bytes up to the next event.
  ///
  /// - Parameters:
  ///   - bytes: bytes of the archive, any number. Ranges in events refer to them.
  ///   - index: where in `bytes` to begin; it advances past the consumed bytes.
  /// - Returns: nil if all bytes are consumed and the next event needs more.
  /// - Throws: `FormatError` if the archive is invalid, in this call and all later ones.
  public mutating func next(
    in bytes: Span<UInt8>, from index: inout Int
  ) throws(FormatError) -> Event? {
    if let failure { throw failure }
    guard (0...bytes.count).contains(index) else {
      throw FormatError(.argument, "index \(index) is not in 0...\(bytes.count)")
    }
    do throws(FormatError) {
      if state == .data {
        if let event = nextPiece(bytes.count, from: &index) { return event }
        guard cursor.dataRest == 0 else { return nil }
        state = .extentHeader
      }
      return state == .header
        ? try nextHeader(in: bytes, from: &index) : try nextExtent(in: bytes, from: &index)
    } catch {
      failure = error
      throw error
    }
  }

  /// Skips data of the current extent: the caller does not need it, or has read it already. The
  /// bytes that `next` receives must continue after it.
  ///
  /// - Parameter count: the number of bytes; without it, all data and zeros of the extent.
  /// - Returns: the bytes skipped: at most what remains of the extent, and 0 outside of an extent.
  @discardableResult
  public mutating func skipData(_ count: Int = .max) -> Int {
    guard state == .data else { return 0 }
    let count = cursor.skip(count)
    start += UInt64(count)
    if cursor.dataRest == 0 { state = .extentHeader }
    return count
  }

  /// Checks that the archive may end here.
  ///
  /// - Parameter devices: those that must be complete; without it, all.
  /// - Returns: the clusters of the archive.
  /// - Throws: `FormatError`, with the code `truncated` or `incomplete` if the archive is not
  ///   complete.
  @discardableResult
  public func finish(
    requiring devices: [ArchiveHeader.Device]? = nil
  ) throws(FormatError) -> ClusterCensus {
    try checkEnd()
    guard let header, let census else { return try ClusterCensus([]) }
    try census.checkComplete(devices ?? header.devices)
    try ledger.checkEnd(devices ?? header.devices)
    return census
  }

  /// Checks that no header or extent is truncated.
  package func checkEnd() throws(FormatError) {
    if let failure { throw failure }
    switch state {
    case .header:
      guard !partial.isEmpty else { throw FormatError(.notAnArchive, "is empty") }
      throw .truncated(partial.count, of: headerSize, byte: 0, extent: nil)
    case .extentHeader:
      if !partial.isEmpty { _ = try parseExtent(partial.span) }
    case .data:
      let size = cursor.extent.dataSize
      guard cursor.dataRest == 0 else {
        throw .truncated(
          size - cursor.dataRest, of: size, byte: cursor.extent.byte, extent: cursor.extent.number)
      }
    }
  }

  // MARK: Headers

  private mutating func nextHeader(
    in bytes: Span<UInt8>, from index: inout Int
  ) throws(FormatError) -> Event? {
    while partial.count < headerSize {
      guard gather(headerSize, of: bytes, from: &index) else {
        // Rejects anything that is not an archive at its first bytes.
        _ = try ArchiveHeader.byteCount(prefix: partial.span)
        return nil
      }
      headerSize = try ArchiveHeader.byteCount(prefix: partial.span) ?? headerSize
    }
    let header = try parseHeader()
    if countsClusters { census = try ClusterCensus(header.devices) }
    self.header = header
    cursor.setSizes(header.devices)
    start = UInt64(headerSize)
    partial = []
    state = .extentHeader
    return .header(header)
  }

  private mutating func parseHeader() throws(FormatError) -> ArchiveHeader {
    do throws(FormatError) {
      return try ArchiveHeader(parsing: partial.span, digest: digest)
    } catch {
      guard salvagesHeader else { throw error }
      let header = ArchiveHeader(salvaging: partial.span)
      guard !header.devices.isEmpty || !header.configs.isEmpty else { throw error }
      headerFault = error
      return header
    }
  }

  private mutating func nextExtent(
    in bytes: Span<UInt8>, from index: inout Int
  ) throws(FormatError) -> Event? {
    let size = VMAFormat.extentHeaderSize
    let extent: ExtentHeader
    if partial.isEmpty, bytes.count - index >= size {
      extent = try parseExtent(bytes.extracting(index..<index + size))
      index += size
    } else {
      guard gather(size, of: bytes, from: &index) else { return nil }
      extent = try parseExtent(partial.span)
      partial.removeAll(keepingCapacity: true)
    }
    if countsClusters {
      try census?.record(extent)
      try ledger.record(extent)
    }
    extentCount += 1
    start += UInt64(size)
    cursor.begin(extent)
    state = .data
    return .extent(extent)
  }

  private func parseExtent(_ bytes: Span<UInt8>) throws(FormatError) -> ExtentHeader {
    guard let header else { throw FormatError(.argument, "no header was read") }
    return try ExtentHeader(
      parsing: bytes, uuid: header.uuid, digest: digest, number: extentCount, byte: start)
  }

  /// Moves bytes to `partial` until it holds `count`.
  ///
  /// - Returns: whether it does.
  private mutating func gather(
    _ count: Int, of bytes: Span<UInt8>, from index: inout Int
  ) -> Bool {
    let end = index + min(count - partial.count, bytes.count - index)
    partial += bytes.array(index..<end)
    index = end
    return partial.count == count
  }

  // MARK: Data

  private mutating func nextPiece(_ end: Int, from index: inout Int) -> Event? {
    while let piece = cursor.next(end - index) {
      let length = min(UInt64(piece.length), cursor.rest(of: piece.device, from: piece.offset))
      if piece.position == nil {
        guard length > 0 else { continue }
        return .zeros(device: piece.device, offset: piece.offset, length: Int(length))
      }
      let first = index
      index += piece.length
      start += UInt64(piece.length)
      // The last block of a device can extend beyond its end.
      guard length > 0 else { continue }
      return .data(
        device: piece.device, offset: piece.offset, range: first..<first + Int(length))
    }
    return nil
  }
}
