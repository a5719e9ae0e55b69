// SPDX-License-Identifier: Apache-2.0

/// A change to finished bytes, which can make any field invalid.
struct Edit: Sendable {
  var offset: Int
  var bytes: [UInt8]

  static func big(_ offset: Int, _ value: some FixedWidthInteger) -> Edit {
    Edit(offset: offset, bytes: bigEndian(value))
  }

  func apply(to target: inout [UInt8]) {
    target.replaceSubrange(offset..<offset + bytes.count, with: bytes)
  }
}

func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.bigEndian) { Array($0) }
}

/// A VMA archive as a list of values, based only on the format's description.
///
/// It writes a valid archive; every value can be changed before the checksum is computed (`edits`)
/// or after it (`wounds`).
struct Archive: Sendable {
  struct Device: Sendable {
    var id: Int
    /// The name as stored in the blob, including its NUL.
    var blob: [UInt8]
    var size: UInt64

    init(id: Int, name: String, size: UInt64) {
      self.id = id
      self.size = size
      blob = Array(name.utf8) + [0]
    }
  }

  struct Config: Sendable {
    var blob: [UInt8]
    var data: [UInt8]

    init(name: String, data: [UInt8]) {
      self.data = data
      blob = Array(name.utf8) + [0]
    }

    init(_ name: String, _ text: String) { self.init(name: name, data: Array(text.utf8)) }
  }

  /// One cluster: which of its sixteen blocks are stored, and those.
  struct Slot: Sendable {
    var device: UInt8
    var cluster: UInt32
    var mask: UInt16
    var blocks: [UInt8]
  }

  /// 59 slots, used or not, and the blocks of the used ones.
  struct Extent: Sendable {
    var slots: [Slot?]
    var edits: [Edit] = []
    var wounds: [Edit] = []

    init(_ slots: [Slot?] = []) { self.slots = slots }
  }

  var uuid: [UInt8] = Array(0x10..<0x20)
  var ctime: Int64 = 1_600_000_000
  var devices: [Device] = []
  var configs: [Config] = []
  var extents: [Extent] = []
  var edits: [Edit] = []
  var wounds: [Edit] = []
  /// Bytes between the last blob and the end of the header, beyond the rounding up to 512.
  var slack = 0

  // MARK: Bytes

  /// The offsets in the blob buffer: each config's name and data, each device's name.
  struct Layout {
    var buffer: [UInt8] = [0]
    var configNames: [Int] = []
    var configData: [Int] = []
    var deviceNames: [Int] = []

    init(_ archive: Archive) {
      for config in archive.configs {
        configNames.append(add(config.blob))
        configData.append(add(config.data))
      }
      for device in archive.devices { deviceNames.append(add(device.blob)) }
    }

    private mutating func add(_ blob: [UInt8]) -> Int {
      defer { buffer += [UInt8(blob.count & 0xff), UInt8(blob.count >> 8)] + blob }
      return buffer.count
    }
  }

  func headerBytes() -> [UInt8] {
    let layout = Layout(self)
    let used = layout.buffer.count
    let size = 12288 + (used + 511) / 512 * 512 + slack
    var header = [UInt8](repeating: 0, count: size)
    var fields = [
      Edit(offset: 0, bytes: Array("VMA\0".utf8)),
      .big(4, UInt32(1)),
      Edit(offset: 8, bytes: uuid),
      .big(24, ctime),
      .big(48, UInt32(12288)),
      .big(52, UInt32(used)),
      .big(56, UInt32(size)),
      Edit(offset: 12288, bytes: layout.buffer),
    ]
    for index in configs.indices {
      fields.append(.big(2044 + 4 * index, UInt32(layout.configNames[index])))
      fields.append(.big(3068 + 4 * index, UInt32(layout.configData[index])))
    }
    for (device, name) in zip(devices, layout.deviceNames) {
      fields.append(.big(4096 + 32 * device.id, UInt32(name)))
      fields.append(.big(4096 + 32 * device.id + 8, device.size))
    }
    for edit in fields + edits { edit.apply(to: &header) }
    Edit(offset: 32, bytes: MD5.digest(of: header)).apply(to: &header)
    for wound in wounds { wound.apply(to: &header) }
    return header
  }

  func bytes(of extent: Extent) -> [UInt8] {
    var header = [UInt8](repeating: 0, count: 512)
    let used = extent.slots.compactMap(\.self)
    let count = used.reduce(0) { $0 + $1.mask.nonzeroBitCount }
    var fields = [
      Edit(offset: 0, bytes: Array("VMAE".utf8)),
      .big(6, UInt16(count)),
      Edit(offset: 8, bytes: uuid),
    ]
    for (index, slot) in extent.slots.enumerated() {
      guard let slot else { continue }
      let place = 40 + 8 * index
      fields.append(.big(place, slot.mask))
      fields.append(Edit(offset: place + 3, bytes: [slot.device]))
      fields.append(.big(place + 4, slot.cluster))
    }
    for edit in fields + extent.edits { edit.apply(to: &header) }
    Edit(offset: 24, bytes: MD5.digest(of: header)).apply(to: &header)
    for wound in extent.wounds { wound.apply(to: &header) }
    return header + used.flatMap(\.blocks)
  }

  func bytes() -> [UInt8] {
    extents.reduce(into: headerBytes()) { $0 += bytes(of: $1) }
  }

  /// Where each extent begins, and where the last one ends.
  func extentOffsets() -> [Int] {
    var end = headerBytes().count
    return [end]
      + extents.map {
        end += bytes(of: $0).count
        return end
      }
  }
}
