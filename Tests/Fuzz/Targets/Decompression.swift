// SPDX-License-Identifier: Apache-2.0

import Compression
import Glibc
import System

extension Target {
  /// A compressed file, whatever its format: it is read to its end or refused.
  public static let decompression = Target(name: "decompression") { input in
    var path = Array("/tmp/fuzz.XXXXXX".utf8CString)
    let file = mkstemp(&path)
    unlink(path)
    try require(file >= 0, "no temporary file")
    defer { close(file) }
    try require(write(file, input, input.count) == input.count, "the temporary file is full")
    do {
      let first = try content(of: file)
      // A file that is accepted is accepted every time, with the same content.
      try require(try content(of: file) == first, "read twice is the same")
    } catch let failure as Failure {
      try require(failure.status == .badData, "\(failure.status) \(failure.message)")
    }
  }

  /// The checksum of at most the first 64 MiB of a file: a few bytes can decompress to much more.
  private static func content(of file: Int32) throws -> UInt64 {
    let input = try Input.open("/proc/self/fd/\(file)")
    let buffer = try Buffer(capacity: 1 << 18)
    var total = 0
    var sum: UInt64 = 0
    while total < 64 << 20 {
      let count = try input.source.read(into: buffer, 0..<buffer.capacity)
      if count == 0 { break }
      total += count
      buffer.withBytes(0..<count) { bytes in
        for index in stride(from: 0, to: bytes.count, by: 61) {
          sum = (sum &* 31) ^ UInt64(bytes[index])
        }
      }
    }
    return sum &+ UInt64(total)
  }
}
