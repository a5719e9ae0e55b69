// SPDX-License-Identifier: Apache-2.0

import Compression
import System
import TestSupport
import Testing
import VMA

@testable import Archives

/// Random reads of one disk of an archive.
@Suite struct DiskReaderTests {
  /// A random archive of two disks, and what it contains of them.
  private struct Sample {
    static let ids: [UInt8] = [1, 7]
    var header: ArchiveHeader
    var disks: [UInt8: [UInt8]] = [:]
    /// Clusters that the archive lacks.
    var missing: [UInt8: Set<Int>] = [1: [], 7: []]
    var bytes: [UInt8]

    init(seed: UInt64, lacksClusters: Bool) throws {
      var random = SeededGenerator(seed: seed)
      header = ArchiveHeader(
        uuid: ArchiveHeader.UUID(.random(in: .min ... .max, using: &random)), creationTime: 1,
        configs: [], devices: [])
      var slots: [ExtentHeader.Slot] = []
      for id in Self.ids {
        let size = Int.random(in: 1...1500, using: &random) * 512
        header.devices.append(
          ArchiveHeader.Device(id: id, name: [UInt8(ascii: "a") + id], size: UInt64(size)))
        var disk = [UInt8](repeating: 0, count: size)
        for cluster in 0..<size.dividedRoundingUp(by: 65536) {
          if lacksClusters, Int.random(in: 0..<4, using: &random) == 0 {
            missing[id]?.insert(cluster)
            continue
          }
          let range = cluster * 65536..<min(size, cluster * 65536 + 65536)
          let inside = UInt32(1) << UInt32(range.count.dividedRoundingUp(by: 4096)) - 1
          let masks: [UInt16] = [0, .max, .random(in: 0 ... .max, using: &random)]
          let mask = masks.randomElement(using: &random).map { $0 & UInt16(inside) } ?? 0
          for block in 0..<16 where mask >> block & 1 == 1 {
            let start = range.lowerBound + block * 4096
            let part = start..<min(start + 4096, size)
            disk.replaceSubrange(
              part, with: repeatElement(.random(in: 1...255, using: &random), count: part.count))
          }
          slots.append(.init(device: id, cluster: UInt32(cluster), mask: mask))
        }
        disks[id] = disk
      }
      // Runs, and other orders.
      if Bool.random(using: &random) { slots.shuffle(using: &random) }
      bytes = try header.serialized(digest: MD5.self)
      while !slots.isEmpty {
        let part = Array(slots.prefix(Int.random(in: 1...59, using: &random)))
        slots.removeFirst(part.count)
        bytes += try ExtentHeader(slots: part).serialized(uuid: header.uuid, digest: MD5.self)
        for slot in part {
          for block in 0..<16 where slot.mask >> block & 1 == 1 {
            let start = Int(slot.cluster) * 65536 + block * 4096
            let data = disks[slot.device]?.dropFirst(start).prefix(4096) ?? []
            bytes += data + [UInt8](repeating: 0, count: 4096 - data.count)
          }
        }
      }
    }

    func reader(of id: UInt8) throws -> DiskReader {
      let access = MemoryBytes(bytes)
      let reader = try ArchiveReader(MemoryBytes(bytes), name: "memory")
      let index = try ArchiveIndex(
        access, reader: reader, devices: header.devices, toleratesTruncation: true)
      let device = try #require(header.devices.first { $0.id == id })
      return index.reader(of: device, in: access)
    }

    func lacks(_ range: Range<Int>, of id: UInt8) -> Bool {
      guard !range.isEmpty else { return false }
      return (range.lowerBound / 65536...(range.upperBound - 1) / 65536).contains {
        missing[id]?.contains($0) ?? false
      }
    }
  }

  @Test("any range of a disk can be read, unless the archive lacks a part of it", arguments: 0..<8)
  func ranges(seed: UInt64) throws {
    let sample = try Sample(seed: seed, lacksClusters: seed % 2 == 1)
    var random = SeededGenerator(seed: seed)
    let buffer = try Buffer(capacity: 200_000)
    for id in Sample.ids {
      let reader = try sample.reader(of: id)
      let disk = try #require(sample.disks[id])
      let expected = try Buffer(capacity: disk.count)
      expected.copy(disk, to: 0)
      #expect(reader.size == UInt64(disk.count))
      for _ in 0..<60 {
        let offset = Int.random(in: 0...disk.count + 10, using: &random)
        let count = Int.random(in: 0...Int.random(in: 0...150_000, using: &random), using: &random)
        let start = Int.random(in: 16...1000, using: &random)
        let range = min(offset, disk.count)..<min(offset + count, disk.count)
        let margins = [start - 16..<start, start + range.count..<start + range.count + 16]
        for margin in margins {
          buffer.copy([UInt8](repeating: 99, count: 16), to: margin.lowerBound)
        }
        if sample.lacks(range, of: id) {
          let failure = #expect(throws: Failure.self) {
            try reader.read(into: buffer, start..<start + count, at: UInt64(offset))
          }
          #expect(failure?.status == .badData)
        } else {
          let found = try reader.read(into: buffer, start..<start + count, at: UInt64(offset))
          #expect(found == range.count)
          #expect(
            buffer.isEqual(start..<start + found, to: expected, at: range.lowerBound),
            "\(seed) \(range)")
          for margin in margins {
            #expect(
              buffer.withBytes(margin) { bytes in bytes.indices.allSatisfy { bytes[$0] == 99 } })
          }
        }
      }
    }
  }

  @Test("zeros are reported in units of blocks, and missing clusters are not", arguments: 0..<8)
  func zeros(seed: UInt64) throws {
    let sample = try Sample(seed: seed, lacksClusters: seed % 2 == 1)
    var random = SeededGenerator(seed: seed)
    for id in Sample.ids {
      let reader = try sample.reader(of: id)
      let disk = try #require(sample.disks[id])
      for limit in [1, 2, 3, 7, 1000] {
        let start = Int.random(in: 0...disk.count, using: &random)
        let end = Int.random(in: start...disk.count + 100, using: &random)
        let found = reader.stretches(in: UInt64(start)..<UInt64(end), limit: limit)
        #expect(found.count <= limit)
        var position = start
        for stretch in found {
          #expect(stretch.range.lowerBound == position)
          position = Int(stretch.range.upperBound)
          let range = Int(stretch.range.lowerBound)..<position
          if stretch.isZero {
            #expect(isZero(disk, range) && !sample.lacks(range, of: id))
          } else {
            for block in range.lowerBound / 4096...(range.upperBound - 1) / 4096 {
              let part = (block * 4096..<block * 4096 + 4096).clamped(to: 0..<disk.count)
              #expect(!isZero(disk, part) || sample.lacks(part, of: id))
            }
          }
        }
        for (left, right) in zip(found, found.dropFirst()) { #expect(left.isZero != right.isZero) }
        if found.count < limit { #expect(position == min(end, disk.count)) }
        #expect(found.isEmpty == (start >= min(end, disk.count)))
      }
    }
  }

  private func isZero(_ disk: [UInt8], _ range: Range<Int>) -> Bool {
    disk[range].elementsEqual(repeatElement(0, count: range.count))
  }
}
