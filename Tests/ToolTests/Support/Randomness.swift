// SPDX-License-Identifier: Apache-2.0

/// SplitMix64: the same numbers for the same seed, always and everywhere.
struct Seeded: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// This many incompressible bytes.
  mutating func bytes(_ count: Int) -> [UInt8] {
    let words = (0..<(count + 7) / 8).map { _ in next() }
    return words.withUnsafeBytes { Array($0.prefix(count)) }
  }
}

let blockSize = 4096
let clusterSize = 65536

/// The content of disks in these tests.
enum Image {
  static func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

  /// Only random bytes.
  static func full(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = Seeded(seed)
    return random.bytes(count)
  }

  /// All kinds of masks: clusters all zero and all data, single blocks of either kind, blocks with
  /// one byte set at either end; random data for a last partial block.
  static func mixed(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = Seeded(seed)
    var image = zeros(count)
    for cluster in stride(from: 0, to: count, by: clusterSize) {
      let kind = random.next() % 4
      if kind == 0 { continue }
      for start in stride(from: cluster, to: min(cluster + clusterSize, count), by: blockSize) {
        let end = min(start + blockSize, count)
        switch kind == 1 ? 0 : random.next() % 5 {
        case 0: image.replaceSubrange(start..<end, with: random.bytes(end - start))
        case 1: image[start] = 1
        case 2: image[end - 1] = 0x80
        default: break
        }
      }
    }
    // No disk is all zeros by chance, and the last byte marks the end.
    if count > 0 { image[count - 1] = 0xee }
    return image
  }
}
