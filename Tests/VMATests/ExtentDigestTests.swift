// SPDX-License-Identifier: Apache-2.0

import Archives
import Testing
import VMA

@Suite struct ExtentDigestTests {
  private static let uuid = ArchiveHeader.UUID(7)

  /// An archive of one disk with a block in each cluster; the digest of an extent is the number of
  /// its blocks, and its position.
  private func extents(groups: UInt64, devices: Int = 1) throws -> [ArchiveBuilder.Extent] {
    let devices = (1...devices).map {
      ArchiveBuilderTests.disk(UInt8($0), clusters: groups * 59)
    }
    var builder = try ArchiveBuilderTests.builder(devices) { blocks in
      UInt128(blocks.count) << 64 | UInt128(blocks[0].lowerBound)
    }
    for device in devices {
      for cluster in 0..<device.clusterCount {
        try builder.add(device: device.id, cluster: cluster, mask: 1, at: Int(cluster) * 65536)
      }
    }
    try builder.finish()
    var extents: [ArchiveBuilder.Extent] = []
    while let extent = builder.nextExtent() { extents.append(extent) }
    return extents
  }

  private func parse(_ bytes: [UInt8]) throws(FormatError) -> ExtentHeader {
    try ExtentHeader(parsing: bytes.span, uuid: Self.uuid, digest: MD5.self)
  }

  /// A header with a valid checksum after a change.
  private func sealed(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    bytes.replaceSubrange(24..<40, with: repeatElement(0, count: 16))
    var digest = MD5()
    digest.update(bytes.span)
    let value = digest.finish()
    for index in 0..<16 {
      bytes[24 + index] = UInt8(truncatingIfNeeded: value >> (8 * (15 - UInt128(index))))
    }
    return bytes
  }

  @Test func theBytesAreThoseOfTheManual() throws {
    let last = try #require(try extents(groups: 2).last)
    #expect(last.header.slots.isEmpty && last.header.blockCount == 0)
    let slots = last.headerBytes[40...].enumerated()
    let devices = slots.filter { $0.offset % 8 == 3 }.map(\.element)
    #expect(devices.allSatisfy { $0 == 0 }, "all slots are unused")
    let free = slots.filter { $0.offset % 8 != 3 }.map(\.element)
    #expect(free.count == 413)
    #expect(Array(free[..<8]) == Array("XXH3-128".utf8))
    #expect(Array(free[8..<13]) == [1, 2, 0, 0, 0])
    #expect(
      Array(free[13..<45]) == [
        0, 0, 0, 0, 0, 0, 0, 59, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 59, 0, 0, 0, 0, 0, 59, 0, 0,
      ])
    #expect(free[45...].allSatisfy { $0 == 0 })
  }

  /// Every 24 groups of a disk, at its end, and never more than 25.
  @Test func digestsFollowTheirExtents() throws {
    func digestCounts(_ extents: [ArchiveBuilder.Extent]) -> [Int] {
      extents.compactMap { $0.header.digests?.values.count }
    }
    #expect(digestCounts(try extents(groups: 1)) == [1])
    #expect(digestCounts(try extents(groups: 24)) == [24])
    #expect(digestCounts(try extents(groups: 25)) == [24, 1])
    #expect(digestCounts(try extents(groups: 50, devices: 2)) == [24, 24, 2, 24, 24, 2])
    for extents in try [1, 24, 25].map({ try extents(groups: $0) }) {
      #expect(extents.last?.header.digests != nil)
      #expect(extents.map(\.header.number) == Array(extents.indices))
      var position: UInt64?
      for extent in extents {
        if let position { #expect(extent.header.byte == position) }
        position = extent.header.dataByte + UInt64(extent.header.dataSize)
      }
    }
  }

  @Test func extentsWithoutBlocksNeedNone() throws {
    let device = ArchiveBuilderTests.disk(1, clusters: 59 * 60)
    func digests(_ hasData: (UInt64) -> Bool) throws -> [Int?] {
      var builder = try ArchiveBuilderTests.builder([device]) { _ in 1 }
      for cluster in 0..<device.clusterCount {
        try builder.add(device: 1, cluster: cluster, mask: hasData(cluster) ? 1 : 0, at: 0)
      }
      try builder.finish()
      var counts: [Int?] = []
      while let extent = builder.nextExtent() { counts.append(extent.header.digests?.values.count) }
      return counts
    }
    #expect(try digests { _ in false } == Array(repeating: nil, count: 60))
    // The last extent of an archive with data is always one of digests.
    let first = try digests { $0 == 0 }
    #expect(first.compactMap(\.self) == [1, 0])
    #expect(first.last == 0)
    #expect(try digests { $0 == 59 * 59 }.compactMap(\.self) == [1])
  }

  @Test func earlyExtentsDoNotMoveTheDigests() throws {
    func places(early: Range<UInt64>) throws -> [UInt32?] {
      var builder = try ArchiveBuilderTests.builder([
        ArchiveBuilderTests.disk(1, clusters: 59 * 100)
      ]) { _ in 1 }
      for cluster in early {
        try builder.add(device: 1, cluster: cluster, mask: 1, at: 0, isEarly: true)
      }
      for cluster in 0..<59 * 100 as Range<UInt64> where !early.contains(cluster) {
        try builder.add(device: 1, cluster: cluster, mask: 1, at: 0)
      }
      try builder.finish()
      // The group before each extent of digests.
      var places: [UInt32?] = []
      var group: UInt32?
      while let extent = builder.nextExtent() {
        if extent.header.digests != nil { places.append(group) }
        group = extent.header.slots.first.map { $0.cluster / 59 }
      }
      return places
    }
    #expect(try places(early: 0..<0) == [23, 47, 71, 95, 99])
    #expect(try places(early: 59 * 90..<59 * 91) == [23, 47, 71, 95, 99])
  }

  @Test func digestsAreReadBack() throws {
    for extent in try extents(groups: 30) {
      #expect(try parse(extent.headerBytes).digests == extent.header.digests)
    }
  }

  @Test func whatIsNotOursIsIgnored() throws {
    let bytes = try #require(try extents(groups: 3).last).headerBytes
    // The tag, an unknown version, and a slot that is used.
    for place in [40, 48, 49] {
      var other = bytes
      other[place] ^= 1
      #expect(try parse(sealed(other)).digests == nil, "\(place)")
    }
    var used = bytes
    used.replaceSubrange(504..<512, with: [0, 0, 0, 1, 0, 0, 0, 0])
    #expect(try parse(sealed(used)).digests == nil)
    var damaged = bytes
    damaged[100] ^= 1
    #expect(throws: FormatError.self) { try parse(damaged) }
  }

  // MARK: Against the extents

  private func record(
    _ headers: [ExtentHeader], digest: (ExtentHeader) -> UInt128? = { _ in nil }
  ) -> (ledger: DigestLedger, error: FormatError?) {
    var ledger = DigestLedger()
    do throws(FormatError) {
      for header in headers { try ledger.record(header, digest: digest(header)) }
      return (ledger, nil)
    } catch {
      return (ledger, error)
    }
  }

  @Test func aDigestExtentMustMatchTheExtentsBeforeIt() throws {
    let headers = try extents(groups: 30).map(\.header)
    #expect(record(headers).error == nil)
    var wrong: [[ExtentHeader]] = []
    // One extent less, one more, digests twice, and digests that are missing in between.
    wrong.append(Array(headers.dropFirst()))
    wrong.append([headers[0]] + headers)
    wrong.append(headers + headers.suffix(1))
    wrong.append(headers.enumerated().filter { $0.offset != 24 }.map(\.element))
    wrong.append([headers[24]] + headers)
    for headers in wrong { #expect(record(headers).error?.code == .digestCount) }
  }

  @Test func moreDigestsThanFitAreRefused() throws {
    var bytes = try #require(try extents(groups: 3).last).headerBytes
    // The count is the tenth free byte, in the second slot.
    bytes[50] = 26
    let digests = try parse(sealed(bytes))
    let data = try #require(try extents(groups: 1).first).header
    #expect(record(Array(repeating: data, count: 26) + [digests]).error?.code == .digestCount)
  }

  @Test func differentDataIsFound() throws {
    let extents = try extents(groups: 30)
    let known = Dictionary(
      uniqueKeysWithValues: extents.filter { $0.header.blockCount > 0 }.map {
        ($0.header.number, UInt128($0.blocks.count) << 64 | UInt128($0.blocks[0].lowerBound))
      })
    let headers = extents.map(\.header)
    let right = record(headers) { known[$0.number] }
    #expect(right.error == nil)
    #expect(right.ledger.comparedBytes == right.ledger.totalBytes)
    #expect(right.ledger.totalBytes == 30 * 59 * 4096)
    let wrong = record(headers) { header in
      known[header.number].map { header.number == 17 ? $0 ^ 1 : $0 }
    }
    #expect(wrong.error?.code == .dataDigest)
    #expect(wrong.error?.extent == 17)
    #expect(wrong.ledger.damaged == headers[17])
    // What was not read is not compared.
    let partly = record(headers) { $0.number == 17 ? nil : known[$0.number] }
    #expect(partly.error == nil)
    #expect(partly.ledger.comparedBytes == 29 * 59 * 4096)
  }

  @Test func digestsMustReachTheEnd() throws {
    let headers = try extents(groups: 30).map(\.header)
    let disk = ArchiveBuilderTests.disk(1, clusters: 59 * 30)
    try record(headers).ledger.checkEnd([disk])
    try record(headers.filter { $0.digests == nil }).ledger.checkEnd([disk])
    let cut = record(headers.dropLast()).ledger
    #expect(throws: FormatError.self) { try cut.checkEnd([disk]) }
    try cut.checkEnd([ArchiveBuilderTests.disk(2, clusters: 1)])
  }
}
