// SPDX-License-Identifier: Apache-2.0

/// How to compress an archive.
package struct ZstdSettings: Sendable {
  /// In `ZstdCompressor.levels`.
  package var level: Int
  /// At least 1.
  package var threads: Int
  /// The maximum content of a frame of data, in bytes; 0 for one frame, nil for a frame an extent.
  package var frameSize: Int?

  package init(level: Int, threads: Int, frameSize: Int? = nil) {
    self.level = level
    self.threads = threads
    self.frameSize = frameSize
  }
}
