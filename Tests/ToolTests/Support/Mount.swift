// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// A file system in an image, mounted in a scratch directory until it is released.
final class Mount {
  private let dir: Scratch
  private let device: LoopDevice
  private let name: String

  /// - Parameters:
  ///   - make: a command that creates the file system, before the name of its device.
  ///   - mount: one that mounts it, before the names of device and directory.
  init(_ name: String, make: String, mount: String, size: Int, in dir: Scratch) throws {
    self.dir = dir
    self.name = name
    try dir.resize("../\(name).img", to: size)
    device = try LoopDevice("../\(name).img", in: dir)
    try dir.makeDirectory(name)
    let words = "\(device.path) > /dev/null && \(mount) \(device.path) \(name)"
    try dir.sh("\(make) \(words) > /dev/null 2>&1").succeeds()
  }

  /// exFAT through FUSE, without support for hard links, flags of renameat2 and unnamed files.
  static func exFAT(_ name: String, in dir: Scratch) throws -> Mount {
    try Mount(name, make: "mkfs.exfat", mount: "mount.exfat-fuse", size: 64 << 20, in: dir)
  }

  deinit { _ = try? dir.sh("umount \(name) || umount -l \(name)") }
}

extension Requirement {
  static let exFAT = Requirement(
    "exFAT through FUSE", "mkfs.exfat", "mount.exfat-fuse", "losetup", orLacks: .kernel,
    script: """
      PATH=$PATH:/usr/sbin:/sbin; folder=$(mktemp -d) && truncate -s 16M "$folder.img" &&
        device=$(losetup --find --show "$folder.img") && mkfs.exfat "$device" &&
        mount.exfat-fuse "$device" "$folder" && mountpoint "$folder"; code=$?
      umount "$folder"; losetup --detach "$device"; rm -rf "$folder" "$folder.img"; exit $code
      """)
  static let fileAttributes = Requirement(
    "chattr", "chattr", orLacks: .kernel,
    script: "f=$(mktemp) && chattr +i $f && chattr -i $f; code=$?; rm -f $f; exit $code")
  static let bindMounts = Requirement(
    "bind mounts", "mount", orLacks: .kernel,
    script: "d=$(mktemp -d) && mount --bind /tmp $d && umount $d; code=$?; rmdir $d; exit $code")
}
