// SPDX-License-Identifier: Apache-2.0

import Compression
import Glibc
import System

extension Target {
  /// A compressed file, whatever its format: it is read to its end or refused, and reads at any offset
  /// find the same.
  public static let decompression = Target(name: "decompression") { input in
    var path = Array("/tmp/fuzz.XXXXXX".utf8CString)
    let file = mkstemp(&path)
    unlink(path)
    try require(file >= 0, "no temporary file")
    defer { close(file) }
    try require(write(file, input, input.count) == input.count, "the temporary file is full")
    do {
      let first = try content(of: file, threads: 1)
      // A file that is accepted is accepted every time, with the same content.
      try require(try content(of: file, threads: 3) == first, "read twice is the same")
      let found: UInt64?
      do {
        found = try randomContent(of: file)
      } catch let failure as Failure {
        // The seek table is wrong.
        try require(failure.status == .badData, "\(failure.status) \(failure.message)")
        found = nil
      }
      if let found { try require(found == first, "read at offsets is the same") }
    } catch let failure as Failure {
      try require(failure.status == .badData, "\(failure.status) \(failure.message)")
    }
  }

  /// The checksum of at most the first 64 MiB of a file: a few bytes can decompress to much more.
  private static func content(of file: Int32, threads: Int) throws -> UInt64 {
    let source = try Input.open("/proc/self/fd/\(file)", threads: threads).source
    return try checksum { buffer, _ in try source.readFully(into: buffer, 0..<buffer.capacity) }
  }

  /// The same, by reads at offsets; nil if that is not possible.
  private static func randomContent(of file: Int32) throws -> UInt64? {
    let input = try Input.open("/proc/self/fd/\(file)")
    guard let access = try input.access(cacheSize: 1 << 20, threads: 0) else { return nil }
    return try checksum { buffer, offset in
      try access.read(into: buffer, 0..<buffer.capacity, at: UInt64(offset))
    }
  }

  /// - Parameter read: fills the buffer with the bytes at an offset, except at the end.
  private static func checksum(_ read: (Buffer, Int) throws -> Int) throws -> UInt64 {
    let buffer = try Buffer(capacity: 1 << 18)
    var total = 0
    var sum: UInt64 = 0
    while total < 64 << 20 {
      let count = try read(buffer, total)
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
