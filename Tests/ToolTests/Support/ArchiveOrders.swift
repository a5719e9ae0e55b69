// SPDX-License-Identifier: Apache-2.0

/// The order of the clusters of an archive's devices.
enum ClusterOrder: Sendable {
  /// One disk after another, ascending.
  case straight
  /// One cluster of each device in turn.
  case interleaved
  /// Any order, slots in any position, any number of them in an extent.
  case shuffled(seed: UInt64)
  case reversed
}

extension Archive {
  /// A disk to be archived.
  struct Disk: Sendable {
    var name: String
    var image: [UInt8]

    init(_ name: String, _ image: [UInt8]) {
      self.name = name
      self.image = image
    }
  }

  /// The archive of these disks; by default, their ids are 1, 2, 3 …
  init(
    _ disks: [Disk], configs: [Config] = [], ids: [Int] = [], order: ClusterOrder = .straight,
    perExtent: Int = 59
  ) {
    self.configs = configs
    var lists: [[Slot]] = []
    for (index, disk) in disks.enumerated() {
      let id = ids.isEmpty ? index + 1 : ids[index]
      devices.append(
        Device(id: id, name: disk.name, size: UInt64((disk.image.count + 511) / 512 * 512)))
      lists.append(Archive.slots(of: disk.image, device: UInt8(id)))
    }
    extents = Archive.extents(lists, order: order, perExtent: perExtent)
  }

  /// A disk's clusters in order, without zero blocks.
  static func slots(of image: [UInt8], device: UInt8) -> [Slot] {
    let zeros = Image.zeros(blockSize)
    return stride(from: 0, to: image.count, by: clusterSize).map { start in
      var slot = Slot(device: device, cluster: UInt32(start / clusterSize), mask: 0, blocks: [])
      for bit in 0..<16 {
        let place = start + bit * blockSize
        guard place < image.count else { break }
        var block = Array(image[place..<min(place + blockSize, image.count)])
        block += Image.zeros(blockSize - block.count)
        if block != zeros {
          slot.mask |= 1 << UInt16(bit)
          slot.blocks += block
        }
      }
      return slot
    }
  }

  static func extents(_ lists: [[Slot]], order: ClusterOrder, perExtent: Int) -> [Extent] {
    var slots = lists.flatMap(\.self)
    switch order {
    case .straight: break
    case .reversed: slots.reverse()
    case .interleaved:
      let longest = lists.map(\.count).max() ?? 0
      slots = (0..<longest).flatMap { turn in
        lists.compactMap { turn < $0.count ? $0[turn] : nil }
      }
    case .shuffled(let seed): return scatter(slots, seed: seed)
    }
    // An archive without devices still has one extent, without blocks.
    if slots.isEmpty { return [Extent()] }
    return stride(from: 0, to: slots.count, by: perExtent).map {
      Extent(Array(slots[$0..<min($0 + perExtent, slots.count)]))
    }
  }

  /// Empty extents, full ones, unused slots in between: everything that the format allows.
  private static func scatter(_ slots: [Slot], seed: UInt64) -> [Extent] {
    var random = Seeded(seed)
    var rest = slots.shuffled(using: &random)[...]
    var extents: [Extent] = []
    while !rest.isEmpty {
      let count = Int.random(in: 0...59, using: &random)
      let taken = rest.prefix(count)
      rest = rest.dropFirst(count)
      let padded = taken.map(Optional.some) + Array(repeating: nil, count: 59 - taken.count)
      extents.append(Extent(padded.shuffled(using: &random)))
    }
    return extents
  }

  /// Sorts the clusters of one device, which keep their slots.
  mutating func straighten(device: UInt8) {
    var places: [(Int, Int)] = []
    var slots: [Slot] = []
    for extent in extents.indices {
      for (index, slot) in extents[extent].slots.enumerated() {
        guard let slot, slot.device == device else { continue }
        places.append((extent, index))
        slots.append(slot)
      }
    }
    slots.sort { $0.cluster < $1.cluster }
    for (place, slot) in zip(places, slots) { extents[place.0].slots[place.1] = slot }
  }
}
