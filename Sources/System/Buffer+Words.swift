// SPDX-License-Identifier: Apache-2.0

import Glibc

extension Buffer {
  /// The 64-bit word of this number, in the machine's byte order.
  package func word(_ index: Int) -> UInt64 {
    unsafe withPointer(index * 8..<index * 8 + 8) { unsafe $0.load(as: UInt64.self) }
  }

  package func setWord(_ index: Int, _ value: UInt64) {
    unsafe withPointer(index * 8..<index * 8 + 8) { bytes in
      unsafe bytes.storeBytes(of: value, as: UInt64.self)
    }
  }

  /// A number that almost certainly differs if the bytes differ. It detects accidents, not attacks.
  ///
  /// - Parameter range: a multiple of 32 bytes.
  package func checksum(_ range: Range<Int>) -> UInt64 {
    precondition(range.count.isMultiple(of: 32))
    return unsafe withPointer(range) { bytes in
      let (odd, factor): (UInt64, UInt64) = (0x9e37_79b1_85eb_ca87, 0xc2b2_ae3d_27d4_eb4f)
      func mix(_ lane: UInt64, _ word: UInt64) -> UInt64 {
        let sum = lane &+ word &* factor
        return (sum << 31 | sum >> 33) &* odd
      }
      var lanes: (UInt64, UInt64, UInt64, UInt64) = (1, 2, 3, 4)
      var place = 0
      // Four lanes, so that no multiplication waits for the previous one.
      while place < bytes.count {
        lanes.0 = unsafe mix(lanes.0, bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self))
        lanes.1 = unsafe mix(
          lanes.1, bytes.loadUnaligned(fromByteOffset: place + 8, as: UInt64.self))
        lanes.2 = unsafe mix(
          lanes.2, bytes.loadUnaligned(fromByteOffset: place + 16, as: UInt64.self))
        lanes.3 = unsafe mix(
          lanes.3, bytes.loadUnaligned(fromByteOffset: place + 24, as: UInt64.self))
        place += 32
      }
      return mix(mix(mix(lanes.0, lanes.1), lanes.2), lanes.3)
    }
  }

  /// Returns the memory to the system; the buffer reads as zeros and can be used again.
  package func releaseMemory() {
    unsafe withPointer(0..<capacity) { bytes in
      unsafe _ = madvise(bytes.baseAddress, bytes.count, Int32(MADV_DONTNEED))
    }
  }
}
