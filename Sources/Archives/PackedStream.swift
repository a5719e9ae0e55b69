// SPDX-License-Identifier: Apache-2.0

import Compression
package import Files
import System

/// The archive as it is written, compressed or not.
package final class PackedStream {
  private let output: Output
  private let compressor: ZstdCompressor?
  private var written: UInt64 = 0

  package init(_ output: Output, zstd: (level: Int, threads: Int)?) throws {
    self.output = output
    compressor = try zstd.map {
      try ZstdCompressor(level: $0.level, threads: $0.threads, output: output.descriptor)
    }
  }

  /// The number of bytes written.
  package var byteCount: UInt64 { compressor?.byteCount ?? written }

  package func write(header: [UInt8]) throws {
    if let compressor {
      let buffer = try Buffer(capacity: header.count)
      buffer.copy(header, to: 0)
      try compressor.write(buffer, 0..<header.count)
      try compressor.flush()
    } else {
      try output.descriptor.write(header)
      written += UInt64(header.count)
    }
  }

  package func write(_ extent: PackedExtent) throws {
    if let compressor {
      for range in extent.ranges { try compressor.write(extent.buffer, range) }
    } else {
      try output.descriptor.write(extent.buffer, extent.ranges)
      written += UInt64(extent.byteCount)
    }
  }

  package func finish() throws {
    try compressor?.finish()
  }
}
