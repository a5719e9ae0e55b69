// SPDX-License-Identifier: Apache-2.0

import Testing

/// An archive parsed according to the format, to check the output of `vma-pack`.
struct ParsedArchive {
  var uuid: [UInt8] = []
  var ctime: Int64 = 0
  var configs: [(name: String, data: [UInt8])] = []
  var devices: [(id: Int, name: String, size: Int)] = []
  /// Each device's content by its name, in entire clusters.
  var images: [String: [UInt8]] = [:]
  /// Device id and cluster number of every slot, in the order of the archive.
  var order: [(device: Int, cluster: Int)] = []
  var slotsPerExtent: [Int] = []
  /// The counts of the extents that hold digests, by their place among all.
  var digestCounts: [Int: Int] = [:]
  /// Where each extent begins, and the bytes of its blocks.
  var extents: [(offset: Int, blocks: Range<Int>)] = []
  /// Everything that a strict writer would not write.
  var faults: [String] = []

  private let bytes: [UInt8]

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    guard bytes.count >= 12288 else {
      faults.append("too short for a header")
      return
    }
    let size = Int(big(56, UInt32.self))
    guard size <= bytes.count, size > 12288, size % 512 == 0 else {
      faults.append("header_size \(size)")
      return
    }
    readHeader(size)
    var offset = size
    while offset < bytes.count, faults.isEmpty { readExtent(&offset) }
    checkCompleteness()
  }

  /// The number of bytes from an offset to the end.
  func bytesAfter(_ offset: Int) -> Int { bytes.count - offset }

  private func big<T: FixedWidthInteger>(_ offset: Int, _: T.Type) -> T {
    bytes[offset..<offset + T.bitWidth / 8].reduce(0) { $0 << 8 | T($1) }
  }

  private mutating func check(_ holds: Bool, _ fault: @autoclosure () -> String) {
    if !holds { faults.append(fault()) }
  }

  private mutating func readHeader(_ size: Int) {
    uuid = Array(bytes[8..<24])
    ctime = big(24, Int64.self)
    let used = Int(big(52, UInt32.self))
    var blank = Array(bytes[..<size])
    blank.replaceSubrange(32..<48, with: Image.zeros(16))
    check(Array(bytes[..<4]) == Array("VMA\0".utf8), "magic")
    check(big(4, UInt32.self) == 1, "version")
    check(MD5.digest(of: blank) == Array(bytes[32..<48]), "header checksum")
    check(big(48, UInt32.self) == 12288, "blob_buffer_offset")
    check(size == 12288 + max(1, (used + 511) / 512) * 512, "header_size \(size) for \(used)")
    check(bytes[60..<2044].allSatisfy { $0 == 0 }, "reserved bytes before the arrays")
    check(bytes[4092..<4096].allSatisfy { $0 == 0 }, "reserved bytes after the arrays")
    check(bytes[4096..<4128].allSatisfy { $0 == 0 }, "device 0")
    check(bytes[12288] == 0, "first byte of the blob buffer")
    check(bytes[(12288 + used)..<size].allSatisfy { $0 == 0 }, "bytes after the blobs")
    guard faults.isEmpty else { return }

    for index in 0..<256 {
      let name = Int(big(2044 + 4 * index, UInt32.self))
      let data = Int(big(3068 + 4 * index, UInt32.self))
      guard name != 0 || data != 0 else { continue }
      check(name != 0 && data != 0, "half a config \(index)")
      configs.append((readName(name, used), readBlob(data, used)))
    }
    for id in 1..<256 {
      let place = 4096 + 32 * id
      let name = Int(big(place, UInt32.self))
      let size = Int(big(place + 8, UInt64.self))
      guard name != 0 || size != 0 else { continue }
      check(id < 255, "device id \(id)")
      check(name != 0 && size > 0 && size % 512 == 0, "device \(id) of \(size) bytes")
      check(bytes[(place + 16)..<(place + 32)].allSatisfy { $0 == 0 }, "reserved of \(id)")
      devices.append((id, readName(name, used), size))
    }
    for device in devices {
      let clusters = (device.size + clusterSize - 1) / clusterSize
      images[device.name] = Image.zeros(clusters * clusterSize)
    }
  }

  private mutating func readBlob(_ offset: Int, _ used: Int) -> [UInt8] {
    guard offset + 2 <= used else {
      faults.append("blob at \(offset)")
      return []
    }
    let start = 12288 + offset + 2
    let count = Int(bytes[start - 2]) | Int(bytes[start - 1]) << 8
    guard offset + 2 + count <= used else {
      faults.append("blob at \(offset) of \(count)")
      return []
    }
    return Array(bytes[start..<start + count])
  }

  private mutating func readName(_ offset: Int, _ used: Int) -> String {
    let blob = readBlob(offset, used)
    check(blob.count > 1 && blob.firstIndex(of: 0) == blob.count - 1, "name at \(offset)")
    return String(decoding: blob.dropLast(), as: UTF8.self)
  }

  private mutating func readExtent(_ offset: inout Int) {
    let start = offset
    guard start + 512 <= bytes.count else {
      faults.append("extent header cut at \(start)")
      return
    }
    var blank = Array(bytes[start..<start + 512])
    blank.replaceSubrange(24..<40, with: Image.zeros(16))
    check(Array(bytes[start..<start + 6]) == Array("VMAE\0\0".utf8), "extent magic at \(start)")
    check(Array(bytes[start + 8..<start + 24]) == uuid, "extent uuid at \(start)")
    check(MD5.digest(of: blank) == Array(bytes[start + 24..<start + 40]), "checksum at \(start)")
    offset += 512
    var used = 0
    if bytes[(start + 40)..<(start + 43)] == [88, 88, 72] {
      readDigests(start)
      return
    }
    for slot in 0..<59 {
      let place = start + 40 + 8 * slot
      let id = Int(bytes[place + 3])
      let mask = big(place, UInt16.self)
      check(bytes[place + 2] == 0, "reserved byte of a slot")
      guard id != 0 else {
        check(big(place, UInt64.self) == 0, "unused slot with content")
        continue
      }
      used += 1
      readCluster(id, Int(big(place + 4, UInt32.self)), mask, &offset)
      guard faults.isEmpty else { return }
    }
    let blocks = (offset - start - 512) / blockSize
    check(Int(big(start + 6, UInt16.self)) == blocks, "block_count at \(start)")
    slotsPerExtent.append(used)
    extents.append((start, start + 512..<offset))
  }

  /// Digests of the extents with blocks since the last digests, in the bytes of unused slots.
  private mutating func readDigests(_ start: Int) {
    let slots = bytes[(start + 40)..<(start + 512)].enumerated()
    check(big(start + 6, UInt16.self) == 0, "digests with blocks at \(start)")
    check(slots.allSatisfy { $0.offset % 8 != 3 || $0.element == 0 }, "digests in a used slot")
    let free = slots.filter { $0.offset % 8 != 3 }.map(\.element)
    let count = Int(free[9])
    check(Array(free[..<9]) == Array("XXH3-128".utf8) + [1], "tag of digests at \(start)")
    check(free[10..<13].allSatisfy { $0 == 0 }, "reserved bytes of digests")
    check(free[(13 + 16 * min(count, 25))...].allSatisfy { $0 == 0 }, "bytes after the digests")
    let before = extents.suffix(extents.count - 1 - (digestCounts.keys.max() ?? -1))
      .filter { !$0.blocks.isEmpty }
    check(count == before.count, "digests of \(count) extents, not \(before.count)")
    for (index, extent) in before.enumerated() where index < count {
      let digest = free[(13 + 16 * index)..<(29 + 16 * index)]
      check(XXH3.digest(of: bytes[extent.blocks]) == Array(digest), "digest at \(extent.offset)")
    }
    digestCounts[extents.count] = count
    extents.append((start, start + 512..<start + 512))
  }

  private mutating func readCluster(_ id: Int, _ cluster: Int, _ mask: UInt16, _ offset: inout Int)
  {
    guard let device = devices.first(where: { $0.id == id }) else {
      faults.append("slot of unknown device \(id)")
      return
    }
    order.append((id, cluster))
    let end = (cluster + 1) * clusterSize
    let size = images[device.name, default: []].count
    if device.name == "vmstate", end > size {
      images[device.name, default: []] += Image.zeros(end - size)
    } else if end > size {
      faults.append("cluster \(cluster) of device \(id)")
      return
    }
    for bit in 0..<16 where mask & 1 << bit != 0 {
      let place = cluster * clusterSize + bit * blockSize
      guard offset + blockSize <= bytes.count else {
        faults.append("block cut at \(offset)")
        return
      }
      let block = bytes[offset..<offset + blockSize]
      check(block.contains { $0 != 0 }, "zero block stored for device \(id)")
      if device.name != "vmstate" {
        check(place < device.size, "block past the end of device \(id)")
        let beyond = max(0, place + blockSize - device.size)
        check(block.suffix(beyond).allSatisfy { $0 == 0 }, "bytes past the end of \(id)")
      }
      images[device.name]?.replaceSubrange(place..<place + blockSize, with: block)
      offset += blockSize
    }
  }

  private mutating func checkCompleteness() {
    for device in devices {
      let clusters = order.filter { $0.device == device.id }.map(\.cluster)
      let expected = (device.size + clusterSize - 1) / clusterSize
      check(Set(clusters).count == clusters.count, "device \(device.id) repeats a cluster")
      check(clusters.count >= expected, "device \(device.id) lacks a cluster")
    }
    if devices.isEmpty { check(slotsPerExtent == [0], "one empty extent without devices") }
  }

  /// A device's content, truncated to its size.
  func image(_ name: String) throws -> [UInt8] {
    let device = try #require(devices.first { $0.name == name })
    return Array(try #require(images[name]).prefix(device.size))
  }
}
