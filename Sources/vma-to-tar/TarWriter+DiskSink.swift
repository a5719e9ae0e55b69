// SPDX-License-Identifier: Apache-2.0

import Disks
import System
import Tar

extension TarWriter: DiskSink {
  package func skip(zeros count: UInt64) throws {
    try write(zeros: count)
  }
}
