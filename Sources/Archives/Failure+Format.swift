// SPDX-License-Identifier: Apache-2.0

package import System
package import VMA

extension Failure {
  /// An invalid archive.
  package init(_ input: String, _ error: FormatError) {
    self.init(.badData, "\(input): \(error)")
    isTruncation = error.code == .truncated
  }

  /// The same, with the affected drives.
  func naming(_ devices: some Collection<ArchiveHeader.Device>, as what: String) -> Failure {
    guard !devices.isEmpty else { return self }
    var failure = self
    failure.message += " (\(what): \(ArchiveHeader.list(devices.map(\.name))))"
    return failure
  }
}
