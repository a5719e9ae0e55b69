// SPDX-License-Identifier: Apache-2.0

package import Compression
package import Files
import System
import VMA

/// The archive as it is written, compressed or not.
package final class PackedStream {
  private enum Target {
    case plain
    /// One frame, as version 1.0 wrote it.
    case oneFrame(ZstdCompressor)
    case frames(ExtentFrames)
  }

  private let output: Output
  private let target: Target
  private let recycle: @Sendable (PackedExtent) -> Void
  private var written: UInt64 = 0

  /// - Parameters:
  ///   - zstd: nil for an uncompressed archive.
  ///   - recycle: called for each extent once its memory is not needed any more, on any thread.
  package init(
    _ output: Output, zstd: ZstdSettings?, recycle: @escaping @Sendable (PackedExtent) -> Void
  ) throws {
    self.output = output
    self.recycle = recycle
    if let zstd {
      target =
        zstd.frameSize == 0
        ? .oneFrame(
          try ZstdCompressor(level: zstd.level, threads: zstd.threads, output: output.descriptor))
        : .frames(try ExtentFrames(zstd, output: output.descriptor))
    } else {
      target = .plain
    }
  }

  /// The number of bytes written.
  package var byteCount: UInt64 {
    switch target {
    case .plain: written
    case .oneFrame(let compressor): compressor.byteCount
    case .frames(let frames): frames.byteCount
    }
  }

  /// Writes the header of the archive, which a reader can then decode.
  package func write(header: [UInt8]) throws {
    switch target {
    case .plain:
      try output.descriptor.write(header)
      written += UInt64(header.count)
    case .oneFrame(let compressor):
      let buffer = try Buffer(capacity: header.count)
      buffer.copy(header, to: 0)
      try compressor.write(buffer, 0..<header.count)
      try compressor.flush()
    case .frames(let frames):
      try frames.write(header: header)
    }
  }

  package func write(_ extent: PackedExtent) throws {
    switch target {
    case .plain:
      try output.descriptor.write(extent.buffer, extent.ranges)
      written += UInt64(extent.byteCount)
      recycle(extent)
    case .oneFrame(let compressor):
      for range in extent.ranges { try compressor.write(extent.buffer, range) }
      recycle(extent)
    case .frames(let frames):
      try frames.write(extent, recycle: recycle)
    }
  }

  package func finish() throws {
    switch target {
    case .plain: break
    case .oneFrame(let compressor): try compressor.finish()
    case .frames(let frames): try frames.finish()
    }
  }
}
