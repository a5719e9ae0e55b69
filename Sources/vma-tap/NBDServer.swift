// SPDX-License-Identifier: Apache-2.0

import Files
import Synchronization
import System
import SystemPackage
package import VMA

/// A disk as QEMU writes it to us: which of its clusters have arrived.
package final class Target: Sendable {
  private struct Seen {
    /// A bit for each cluster.
    var words: [UInt64]
    /// Those before this one are complete.
    var firstOpen = 0
    /// Clusters that have not arrived yet.
    var missing: Int
  }

  /// 128 MiB, more clusters than background copying in QEMU can skip. What QEMU has requested but
  /// not sent yet is at most 64 requests of 1 MiB, or half a megabyte with the limits that we set,
  /// and as much again may be copies for guest writes.
  private static let reach = 2048

  package let device: ArchiveHeader.Device
  /// The name of the export.
  let name: String
  /// QEMU's name of the disk, for messages.
  let disk: String
  package let clusterCount: Int
  private let seen: Mutex<Seen>
  private let hasBeenOpened = Mutex(false)

  package var export: NBDExport { NBDExport(name: name, size: device.size) }

  /// Records that a client has chosen the disk.
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
        words: [UInt64](repeating: 0, count: clusterCount.dividedRoundingUp(by: 64)),
        missing: clusterCount))
  }

  /// Clusters that have not arrived yet.
  package var missingCount: Int { seen.withLock { $0.missing } }

  /// Bytes of a cluster; the last one may be short.
  func length(ofClusterAt offset: UInt64) -> Int {
    Int(min(UInt64(VMAFormat.clusterSize), device.size - offset))
  }

  /// Records a cluster.
  ///
  /// - Returns: whether it arrived for the first time.
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

  /// Whether a cluster can only arrive because the guest is about to write to it: background
  /// copying is sequential, and cannot have reached it yet.
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

/// The NBD server that QEMU copies the disks to: one export each, on a socket that the guard has
/// created in a private folder.
final class NBDServer: Sendable {
  /// Connections in addition to QEMU's own.
  private static let strangers = 4

  let path: FilePath
  private let directory: PrivateDirectory
  private let connections = Mutex(0)

  /// - Parameters:
  ///   - listener: the socket.
  ///   - user: runs QEMU, and must be able to reach the socket.
  init(
    _ targets: [Target], on listener: Descriptor, queue: EventQueue, mailbox: Mailbox,
    user: UInt32?
  ) throws {
    guard let path = listener.boundPath else {
      throw Failure(.general, "the NBD socket has no path")
    }
    self.path = path
    directory = try PrivateDirectory(of: path)
    // Root can reach it anywhere.
    if let user, user != Host.userID, user != 0 { try directory.give(to: user) }
    // As many descriptors as connections can need, of which each process has its own.
    try DescriptorReserve().hold(targets.count + Self.strangers)
    // All threads are started before QEMU receives any command. Each serves one connection after
    // the other.
    for _ in 0..<targets.count + Self.strangers {
      let scratch = try Buffer(capacity: VMAFormat.clusterSize)
      _ = try Thread { [self] in
        while true {
          guard let socket = try? listener.accept() else {
            // Possibly out of descriptors: nothing here may end the run.
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

  /// The number of connections of QEMU.
  var connectionCount: Int { connections.withLock { $0 } }

  /// Removes the socket; existing connections remain.
  func remove() {
    directory.remove()
  }
}
