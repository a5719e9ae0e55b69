// SPDX-License-Identifier: Apache-2.0

import CLinux
import SystemPackage

/// What the kernel reports about block devices.
package enum BlockDevice {
  /// Where the bytes of a device are stored: in another device, or in a file.
  package struct Backing {
    package var identity: [UInt64]
    /// The file system of a file.
    package var fileSystem: UInt64?
    /// The part that is used, in bytes; `isExact` if all of it is used.
    package var start: UInt64 = 0
    package var size: UInt64 = .max
    package var isExact = true
  }

  /// Whether a number belongs to a block device, and not to a file system without one.
  package static func exists(_ device: UInt64) -> Bool {
    (try? Descriptor.status(of: folder(device))) != nil
  }

  /// What a device is a part of, or is stored on; empty if nothing is known.
  package static func backings(of device: UInt64) -> [Backing] {
    let folder = folder(device)
    if number(folder.appending("partition")) != nil {
      // The folder is a link to the one inside the folder of the entire device.
      guard let path = Host.realPath(folder), let parent = identity(path.removingLastComponent())
      else { return [] }
      let (start, size) = (number(folder.appending("start")), number(folder.appending("size")))
      return [
        Backing(
          identity: [parent], start: (start ?? 0).multipliedWithSaturation(by: 512),
          size: (size ?? .max).multipliedWithSaturation(by: 512), isExact: start != nil)
      ]
    }
    if let path = text(folder.appending("loop/backing_file")),
      let there = try? Descriptor.status(of: FilePath(path))
    {
      let limit = number(folder.appending("loop/sizelimit")) ?? 0
      return [
        Backing(
          identity: there.identity,
          fileSystem: there.kind == .regular ? there.fileSystem : nil,
          start: number(folder.appending("loop/offset")) ?? 0, size: limit == 0 ? .max : limit)
      ]
    }
    return Host.names(in: folder.appending("slaves").string).compactMap { name in
      identity(folder.appending("slaves").appending(name)).map {
        Backing(identity: [$0], isExact: false)
      }
    }
  }

  private static func folder(_ device: UInt64) -> FilePath {
    FilePath("/sys/dev/block/\(linux_major(device)):\(linux_minor(device))")
  }

  /// The number of the device that a folder of /sys describes.
  private static func identity(_ folder: FilePath) -> UInt64? {
    let parts = text(folder.appending("dev"))?.split(separator: ":").compactMap { UInt32($0) } ?? []
    return parts.count == 2 ? linux_device(UInt64(parts[0]), UInt64(parts[1])) : nil
  }

  private static func number(_ path: FilePath) -> UInt64? { text(path).flatMap { UInt64($0) } }

  /// The line in a small file.
  private static func text(_ path: FilePath) -> String? {
    guard let bytes = try? Descriptor.open(path, .read).contents(atMost: 4096), !bytes.isEmpty
    else { return nil }
    return String(decoding: bytes.last == 10 ? bytes.dropLast() : bytes[...], as: UTF8.self)
  }
}

extension UInt64 {
  fileprivate func multipliedWithSaturation(by factor: UInt64) -> UInt64 {
    let (product, overflow) = multipliedReportingOverflow(by: factor)
    return overflow ? .max : product
  }
}
