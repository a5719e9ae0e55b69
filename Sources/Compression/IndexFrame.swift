// SPDX-License-Identifier: Apache-2.0

import CZstd
import System
import SystemPackage

/// Where some bytes are in an index file, as a zstd frame with a checksum.
package struct IndexFrame: Sendable, Equatable {
  package var position: UInt64 = 0
  /// Bytes of the frame.
  package var storedSize: UInt32 = 0
  /// Bytes of its content.
  package var size: UInt32 = 0

  /// The maximum of `storedSize` for a content of `size`.
  static func bound(_ size: Int) -> Int { ZSTD_compressBound(size) }

  /// Compresses bytes.
  ///
  /// - Parameter target: of at least `bound` bytes.
  /// - Returns: the size of the frame.
  static func compress(_ source: Buffer, _ range: Range<Int>, into target: Buffer) throws -> Int {
    guard let context = unsafe ZSTD_createCCtx() else {
      throw Failure(.general, "zstd", .noMemory)
    }
    defer { unsafe ZSTD_freeCCtx(context) }
    unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 3)
    unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
    let code = unsafe source.withPointer(range) { source in
      unsafe target.withPointer(0..<target.capacity) { target in
        unsafe ZSTD_compress2(
          context, target.baseAddress, target.count, source.baseAddress, source.count)
      }
    }
    guard ZSTD_isError(code) == 0 else {
      throw Failure(.general, "zstd: \(unsafe String(cString: ZSTD_getErrorName(code)))")
    }
    return code
  }

  /// Reads and decodes a frame whose sizes were checked.
  ///
  /// - Returns: a buffer of exactly its content.
  /// - Throws: `Failure` 74 if reading fails, 65 if the frame is damaged.
  static func read(_ frame: IndexFrame, from file: any RandomAccess) throws -> Buffer {
    let source = try Buffer(capacity: Int(frame.storedSize))
    let target = try Buffer(capacity: Int(frame.size))
    let count = try file.read(into: source, 0..<source.capacity, at: frame.position)
    let code = unsafe source.withPointer(0..<count) { source in
      unsafe target.withPointer(0..<target.capacity) { target in
        unsafe ZSTD_decompress(target.baseAddress, target.count, source.baseAddress, source.count)
      }
    }
    guard code == target.capacity else {
      throw Failure(.badData, "\(file.name): the index is damaged at byte \(frame.position)")
    }
    return target
  }
}
