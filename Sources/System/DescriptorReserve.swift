// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import SystemPackage

/// Descriptors that are held so that others can be opened later, even if nothing is left by then.
///
/// Create it early: if the limit of open files is lowered later, only low numbers are of use.
package final class DescriptorReserve {
  private var held: [Int32] = []

  package init() {}

  /// Holds this many, unless it does already.
  ///
  /// - Throws: status 1 if the process may not have that many open files.
  package func hold(_ count: Int) throws(Failure) {
    do {
      while held.count < count {
        held.append(try SystemCall.fcntl.retry { linux_duplicate_above(2, 3) })
      }
    } catch {
      throw Failure(.general, "cannot keep \(count) open files in reserve (ulimit -n)", error)
    }
  }

  package func release() {
    for raw in held { Glibc.close(raw) }
    held = []
  }

  deinit { release() }
}
