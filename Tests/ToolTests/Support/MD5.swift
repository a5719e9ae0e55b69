// SPDX-License-Identifier: Apache-2.0

import Foundation

/// RFC 1321 in a simple form, without any code of the tools.
enum MD5 {
  private static let shifts: [UInt32] = [
    7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21,
  ]
  private static let table: [UInt32] = (0..<64).map {
    UInt32(abs(sin(Double($0 + 1))) * 4_294_967_296)
  }

  static func digest(of message: [UInt8]) -> [UInt8] {
    var padded = message + [0x80]
    padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
    withUnsafeBytes(of: UInt64(message.count * 8).littleEndian) { padded += $0 }

    var state: [UInt32] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]
    padded.withUnsafeBytes { bytes in
      for start in stride(from: 0, to: bytes.count, by: 64) {
        mix(&state) {
          UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 4 * $0, as: UInt32.self))
        }
      }
    }
    return state.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
  }

  private static func mix(_ state: inout [UInt32], word: (Int) -> UInt32) {
    var (a, b, c, d) = (state[0], state[1], state[2], state[3])
    for i in 0..<64 {
      let (mixed, index) =
        switch i / 16 {
        case 0: ((b & c) | (~b & d), i)
        case 1: ((d & b) | (~d & c), (5 &* i &+ 1) % 16)
        case 2: (b ^ c ^ d, (3 &* i &+ 5) % 16)
        default: (c ^ (b | ~d), (7 &* i) % 16)
        }
      let sum = a &+ mixed &+ table[i] &+ word(index)
      let shift = shifts[i / 16 * 4 + i % 4]
      (a, d, c, b) = (d, c, b, b &+ (sum << shift | sum >> (32 - shift)))
    }
    state[0] &+= a
    state[1] &+= b
    state[2] &+= c
    state[3] &+= d
  }
}
