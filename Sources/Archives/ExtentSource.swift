// SPDX-License-Identifier: Apache-2.0

package import VMA

/// A sequence of extents: of an intact archive, or the rest of a damaged one.
package protocol ExtentSource: AnyObject {
  var header: ArchiveHeader { get }
  /// Of all extents that `next` has returned.
  var census: ClusterCensus { get }
  /// The next extent; nil at the end.
  func next() throws -> Extent?
  /// Returns an extent, whose memory is reused for another one.
  func recycle(_ extent: Extent)
}
