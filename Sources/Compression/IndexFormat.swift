// SPDX-License-Identifier: Apache-2.0

package import System

/// The sizes of an index file (vma(5), INDEX FILES). All integers are big-endian.
///
/// A header; frames, in any order; the table of points; the table of excerpts; a trailer.
package enum IndexFormat {
  static let magic: [UInt8] = Array("VMAINDEX".utf8)
  static let version: UInt64 = 1
  static let headerSize = 16
  static let pointSize = 64
  static let excerptSize = 32
  static let trailerSize = 128
  /// The trailer without the digest at its end.
  static let digestStart = 112

  /// The maximum content of a frame of excerpts.
  static let excerptLimit = 1 << 19

  /// Sets the digest of an index file in memory, for tests and fuzzers.
  ///
  /// - Parameters:
  ///   - size: of the file, at least 144.
  ///   - tables: their position.
  package static func sign(_ file: Buffer, _ size: Int, tables: Int) throws {
    let end = size - trailerSize + digestStart
    let digest = try XXH3().digest(of: [0..<headerSize, tables..<end], in: file)
    file.copy((0..<16).map { UInt8(truncatingIfNeeded: digest >> UInt128(120 - 8 * $0)) }, to: end)
  }
}
