// SPDX-License-Identifier: Apache-2.0

package import VMA

/// Extents that come one after another: of a sound archive, or what is left of a damaged one.
package protocol ExtentSource: AnyObject {
  var header: ArchiveHeader { get }
  /// Of all extents that `next` has returned.
  var census: ClusterCensus { get }
  /// The next extent; nil at the end.
  func next() throws -> Extent?
  /// Gives an extent back, whose memory is used for one to come.
  func recycle(_ extent: Extent)
}
