// SPDX-License-Identifier: Apache-2.0

import Files
import Synchronization
import System
import SystemPackage
package import VMA

/// A disk as QEMU writes it to us: which of its clusters have come.
package final class Target: Sendable {
  private struct Seen {
    /// A bit for each cluster.
    var words: [UInt64]
    /// Those before this one are complete.
    var firstOpen = 0
    /// Clusters that have not come yet.
    var missing: Int
  }

  /// More clusters than QEMU's copying in the background leaves out on its way: 128 MiB. What it has
  /// asked for and not got to us is at most 64 requests of 1 MiB, with the limits that it is given
  /// half a megabyte; and as much again may be copies for writes of the guest.
  private static let reach = 2048

  package let device: ArchiveHeader.Device
  /// The name of the export.
  let name: String
  /// What QEMU calls the disk, for messages.
  let disk: String
  package let clusterCount: Int
  private let seen: Mutex<Seen>
  private let hasBeenOpened = Mutex(false)

  package var export: NBDExport { NBDExport(name: name, size: device.size) }

  /// Takes note that a client has chosen the disk.
  ///
  /// - Returns: whether it is the first.
  func open() -> Bool {
    hasBeenOpened.withLock { opened in
      defer { opened = true }
      return !opened
    }
  }

  package init(_ device: ArchiveHeader.Device, name: String, disk: String) {
    self.device = device
    self.name = name
    self.disk = disk
    clusterCount = Int(device.size.dividedRoundingUp(by: UInt64(VMAFormat.clusterSize)))
    seen = Mutex(
      Seen(
        words: [UInt64](repeating: 0, count: (clusterCount + 63) / 64), missing: clusterCount))
  }

  /// Clusters that have not come yet.
  package var missingCount: Int { seen.withLock { $0.missing } }

  /// Bytes of a cluster; the last one may be short.
  func length(ofClusterAt offset: UInt64) -> Int {
    Int(min(UInt64(VMAFormat.clusterSize), device.size - offset))
  }

  /// Takes note of a cluster.
  ///
  /// - Returns: whether it came for the first time.
  func claim(clusterAt offset: UInt64) -> Bool {
    let cluster = Int(offset / UInt64(VMAFormat.clusterSize))
    let bit: UInt64 = 1 << (cluster % 64)
    return seen.withLock { seen in
      guard seen.words[cluster / 64] & bit == 0 else { return false }
      seen.words[cluster / 64] |= bit
      seen.missing -= 1
      return true
    }
  }

  /// Whether a cluster can only come because the guest is about to write to it: the background goes
  /// front to back, and cannot be there yet.
  func isAheadOfBackground(clusterAt offset: UInt64) -> Bool {
    let word = Int(offset / UInt64(VMAFormat.clusterSize)) / 64
    return seen.withLock { seen in
      while seen.firstOpen < word, seen.words[seen.firstOpen] == .max { seen.firstOpen += 1 }
      var missing = 0
      for index in seen.firstOpen..<max(word, seen.firstOpen) where missing <= Self.reach {
        missing += (~seen.words[index]).nonzeroBitCount
      }
      return missing > Self.reach
    }
  }
}

extension UInt64 {
  fileprivate func dividedRoundingUp(by divisor: UInt64) -> UInt64 {
    self / divisor + (isMultiple(of: divisor) ? 0 : 1)
  }
}

/// The NBD server that QEMU copies the disks to: one export each, on a socket that the guard has
/// created in a folder that nobody else can enter.
final class NBDServer: Sendable {
  /// Connections beside QEMU's own.
  private static let strangers = 4

  let path: FilePath
  private let directory: PrivateDirectory
  private let connections = Mutex(0)

  /// - Parameters:
  ///   - listener: the socket.
  ///   - user: who runs QEMU, and has to reach the socket.
  init(
    _ targets: [Target], on listener: Descriptor, queue: EventQueue, mailbox: Mailbox,
    user: UInt32?
  ) throws {
    guard let path = listener.boundPath else {
      throw Failure(.general, "the NBD socket has no path")
    }
    self.path = path
    directory = try PrivateDirectory(of: path)
    // Root can reach it wherever it is.
    if let user, user != Host.userID, user != 0 { try directory.give(to: user) }
    // As many descriptors as connections can need, of which each process has its own.
    try DescriptorReserve().hold(targets.count + Self.strangers)
    // All threads are had before QEMU is told anything. Each serves one connection after the other.
    for _ in 0..<targets.count + Self.strangers {
      let scratch = try Buffer(capacity: VMAFormat.clusterSize)
      _ = try Thread { [self] in
        while true {
          guard let socket = try? listener.accept() else {
            // Out of descriptors, perhaps: nothing here must end the run.
            Host.sleep(milliseconds: 50)
            continue
          }
          connections.withLock { $0 += 1 }
          NBDConnection(socket, targets, queue, mailbox, scratch).run()
          connections.withLock { $0 -= 1 }
        }
      }
    }
  }

  /// How many connections QEMU has.
  var connectionCount: Int { connections.withLock { $0 } }

  /// Removes the socket; connections stay.
  func remove() {
    directory.remove()
  }
}
