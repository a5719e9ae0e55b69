// SPDX-License-Identifier: Apache-2.0

import Archives
import TestSupport
import Testing
import VMA

@Suite struct ArchiveParserTests {
  /// A parser's result for bytes in pieces.
  struct Reading {
    var parser = ArchiveParser(digest: MD5.self)
    var header: ArchiveHeader?
    var extentCount = 0
    /// The reported bytes, by device; all others are 0xee.
    var disks: [UInt8: [UInt8]] = [:]

    mutating func add(_ bytes: [UInt8]) throws {
      var index = 0
      while let event = try parser.next(in: bytes.span, from: &index) {
        switch event {
        case .header(let header): self.header = header
        case .extent(let extent):
          #expect(extent.number == extentCount)
          #expect(extent.dataByte == parser.position)
          extentCount += 1
        case .data(let device, let offset, let range): put(bytes[range], device, offset)
        case .zeros(let device, let offset, let length):
          put([UInt8](repeating: 0, count: length)[...], device, offset)
        }
      }
      #expect(index == bytes.count, "all bytes are consumed")
    }

    private mutating func put(_ bytes: ArraySlice<UInt8>, _ device: UInt8, _ offset: UInt64) {
      var disk = disks[device] ?? []
      let end = Int(offset) + bytes.count
      if disk.count < end { disk += [UInt8](repeating: 0xee, count: end - disk.count) }
      disk.replaceSubrange(Int(offset)..<end, with: bytes)
      disks[device] = disk
    }
  }

  @Test(arguments: 0..<40 as Range<UInt64>)
  func anySplitGivesTheSameResult(seed: UInt64) throws {
    let archive = try SampleArchive(seed: seed)
    var random = SeededGenerator(seed: seed)
    let sizes = [1...7, 1...600, 1...70000, 512...512, 4096...4096, .max - 1 ... .max]
    let size = try #require(sizes.randomElement(using: &random))
    var reading = Reading()
    var rest = archive.bytes[...]
    while !rest.isEmpty {
      let part = rest.prefix(Int.random(in: size, using: &random))
      rest = rest.dropFirst(part.count)
      try reading.add(Array(part))
    }
    let census = try reading.parser.finish()
    #expect(reading.parser.position == UInt64(archive.bytes.count))
    #expect(reading.header == archive.header)
    #expect(reading.parser.header == archive.header)
    #expect(reading.extentCount == archive.extentStarts.count)
    #expect(reading.disks == archive.disks)
    for device in archive.header.devices {
      #expect(census.length(of: device) == UInt64(archive.disks[device.id]?.count ?? -1))
    }
  }

  /// In pieces of the size that the parser needs, and without the data.
  @Test(arguments: 0..<20 as Range<UInt64>)
  func dataCanBeSkipped(seed: UInt64) throws {
    let archive = try SampleArchive(seed: seed)
    var parser = ArchiveParser(digest: MD5.self)
    var starts: [Int] = []
    while parser.position < archive.bytes.count {
      let start = Int(parser.position)
      let bytes = Array(archive.bytes[start...].prefix(parser.neededCount))
      var index = 0
      switch try parser.next(in: bytes.span, from: &index) {
      case .header: #expect(start < archive.extentStarts[0])
      case .extent(let extent):
        starts.append(start)
        #expect(parser.skipData(1000) == min(1000, extent.dataSize))
        #expect(parser.skipData() == extent.dataSize - min(1000, extent.dataSize))
        #expect(parser.skipData() == 0)
      case nil: #expect(start < archive.extentStarts[0], "more of the header")
      case .data, .zeros: Issue.record("data that was skipped")
      }
    }
    try parser.finish()
    #expect(starts == archive.extentStarts)
  }

  /// If data is skipped in part, the rest is correct.
  @Test(arguments: 0..<20 as Range<UInt64>)
  func dataCanBeSkippedInPart(seed: UInt64) throws {
    let archive = try SampleArchive(seed: seed, deviceCount: 2...3)
    var random = SeededGenerator(seed: seed)
    var parser = ArchiveParser(digest: MD5.self)
    var index = 0
    while let event = try parser.next(in: archive.bytes.span, from: &index) {
      if case .data(let device, let offset, let range) = event {
        let disk = archive.disks[device] ?? []
        #expect(Array(archive.bytes[range]) == Array(disk[Int(offset)...].prefix(range.count)))
      }
      if case .header = event { continue }
      if Bool.random(using: &random) {
        index += parser.skipData(Int.random(in: 0...20000, using: &random))
      }
    }
    #expect(index == archive.bytes.count)
    try parser.finish()
  }

  @Test func everyTruncationIsDetected() throws {
    let archive = try SampleArchive(seed: 3, deviceCount: 2...2)
    let places =
      [0, 1, 3, 4, 60, 12287, 12288, archive.extentStarts[0] - 1]
      + archive.extentStarts.flatMap { [$0, $0 + 1, $0 + 4, $0 + 511, $0 + 512, $0 + 513] }
    for place in places where place < archive.bytes.count {
      var reading = Reading()
      try reading.add(Array(archive.bytes[..<place]))
      let error = #expect(throws: FormatError.self) { try reading.parser.finish() }
      let isBetween = archive.extentStarts.contains(place)
      // Fewer than four bytes of an extent are not recognized as one.
      let codes: [FormatError.Code] =
        place == 0
        ? [.notAnArchive] : isBetween ? [.incomplete] : [.truncated, .notAnExtent, .incomplete]
      #expect(codes.contains(try #require(error).code), "\(place): \(String(describing: error))")
    }
  }

  @Test func otherFilesAreRefusedAtOnce() throws {
    for bytes in [[0], Array("VMB".utf8), Array("VMA\0\0\0\0\u{2}".utf8) + hex("00").dropLast()] {
      var parser = ArchiveParser(digest: MD5.self)
      let all = bytes + [UInt8](repeating: 0, count: bytes.count > 4 ? 52 : 0)
      var index = 0
      let error = try #require(throws: FormatError.self) {
        try parser.next(in: all.span, from: &index)
      }
      // The parser cannot be used any more.
      #expect(throws: error) {
        index = 0
        return try parser.next(in: all.span, from: &index)
      }
      #expect(throws: error) { try parser.finish() }
    }
  }

  @Test func onlyRequiredDevicesMustBeComplete() throws {
    let archive = try SampleArchive(seed: 5, deviceCount: 2...2)
    var builder = try ArchiveBuilder(archive.header, digest: MD5.self)
    let (first, second) = (archive.header.devices[0], archive.header.devices[1])
    for cluster in 0..<second.clusterCount {
      try builder.add(device: second.id, cluster: cluster, mask: 0)
    }
    var reading = Reading()
    // Another extent must follow before the builder returns the first one.
    try builder.add(device: first.id, cluster: 0, mask: 0)
    try reading.add(builder.headerBytes + (builder.nextExtent()?.headerBytes ?? []))
    let census = try reading.parser.finish(requiring: [second])
    #expect(census.isComplete(second))
    #expect(!census.isComplete(first))
    #expect(throws: FormatError.self) { try reading.parser.finish() }
  }

  @Test func extentsOfAnotherArchiveAreRefused() throws {
    let archive = try SampleArchive(seed: 5, deviceCount: 1...1)
    let other = try SampleArchive(seed: 6, deviceCount: 1...1)
    var reading = Reading()
    try reading.add(Array(archive.bytes[..<archive.extentStarts[0]]))
    let error = #expect(throws: FormatError.self) {
      try reading.add(Array(other.bytes[other.extentStarts[0]...]))
    }
    #expect(error?.code == .foreignExtent)
    #expect(error?.extent == 0)
    #expect(error?.byte == UInt64(archive.extentStarts[0]))
  }

  @Test func duplicateClustersAreRefused() throws {
    let archive = try SampleArchive(seed: 7, deviceCount: 1...1)
    let extent = archive.bytes[archive.extentStarts[0]...]
    var reading = Reading()
    try reading.add(archive.bytes)
    let error = #expect(throws: FormatError.self) { try reading.add(Array(extent)) }
    #expect(error?.code == .duplicateCluster)
  }
}
