// SPDX-License-Identifier: Apache-2.0

import System

/// What QEMU reports about its guest.
package struct GuestState: Decodable {
  private var status: String

  /// Refuses a guest whose disks another QEMU may write to.
  ///
  /// - Throws: status 66.
  static func refuseMigration(_ client: QMPClient) throws {
    let state: GuestState
    do {
      state = try client.execute("query-status", returning: GuestState.self)
    } catch let error as QMPError where error.isUnknownCommand {
      // qemu-storage-daemon has no guest.
      return
    }
    switch state.status {
    case "inmigrate":
      throw Failure(
        .noInput, "QEMU waits for an incoming migration (back up the VM on its current host)")
    case "finish-migrate":
      throw Failure(
        .noInput, "the VM is migrating to another QEMU (retry after the migration)")
    case "postmigrate":
      throw Failure(
        .noInput,
        "the VM has migrated to another QEMU, which may write to these disks "
          + "(back it up there)")
    default: return
    }
  }
}
