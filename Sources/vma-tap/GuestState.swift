// SPDX-License-Identifier: Apache-2.0

import System

/// What QEMU says about its guest as a whole.
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
        .noInput, "this QEMU waits for a migrating VM; back up the VM where it runs now")
    case "finish-migrate":
      throw Failure(
        .noInput, "the VM is migrating to another QEMU; back it up when the migration is complete")
    case "postmigrate":
      throw Failure(
        .noInput,
        "the VM has migrated to another QEMU, which may write to these disks; "
          + "back it up there")
    default: return
    }
  }
}
