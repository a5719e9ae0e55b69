// SPDX-License-Identifier: Apache-2.0

import VMA

extension ArchiveParser {
  /// The next extent of an archive whose header was read.
  ///
  /// - Parameter bytes: the header of the extent; fewer bytes, or none, at the end of the archive.
  /// - Returns: nil at the end.
  mutating func nextExtent(in bytes: Span<UInt8>) throws(FormatError) -> ExtentHeader? {
    var index = 0
    if case .extent(let extent) = try next(in: bytes, from: &index) { return extent }
    try checkEnd()
    return nil
  }
}
