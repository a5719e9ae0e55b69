// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
internal import SystemPackage

// What can be known of a file or device before the first byte is written to it.
extension Descriptor {
  /// What speaks against removing or replacing a name in this directory; nil where nothing does.
  func obstacle(toReplacing path: FilePath, _ status: FileStatus) throws(Errno) -> Errno? {
    let attributes = unsafe path.withPlatformString { unsafe linux_attributes(raw, $0) }
    if attributes & UInt64(linux_attribute_mount_root) != 0 { return .resourceBusy }
    let fixed = UInt64(linux_attribute_immutable | linux_attribute_append)
    if attributes & fixed != 0 || isAppendOnlyDirectory { return .notPermitted }
    guard let directory = try Self.status(of: ".", in: self) else { return nil }
    let user = geteuid()
    return directory.isSticky && user != 0 && user != status.owner && user != directory.owner
      ? .notPermitted : nil
  }

  /// Whether names in this directory can be made and never removed.
  var isAppendOnlyDirectory: Bool {
    unsafe linux_attributes(raw, ".") & UInt64(linux_attribute_append) != 0
  }

  /// Whether a file that was opened unnamed is sure to get a name in this directory later.
  func canLink(_ file: Descriptor) -> Bool {
    // A server may know unnamed files and no links; that shows only when one is made.
    if linux_file_system(raw) == linux_fuse { return false }
    // All that link() needs is looked at before the name is found to be taken.
    do {
      try link(file, as: ".")
      return false
    } catch {
      return error == .fileExists
    }
  }

  /// Checks that a file or device that is open for writing takes writes at all.
  ///
  /// - Throws: status 73.
  func requireWritable() throws(Failure) {
    switch try status().kind {
    case .blockDevice:
      guard linux_is_read_only_device(raw) == 0 else {
        throw Failure(.cannotCreate, "\(name): device is read-only")
      }
    case .regular: break
    default: return
    }
    let flags = linux_status_flags(raw)
    // Writes of any length at any place are refused then, but for whole blocks.
    guard flags < 0 || flags & linux_o_direct == 0 else {
      throw Failure(
        .cannotCreate, "\(name): is opened with O_DIRECT, which takes whole blocks only")
    }
  }

  /// Checks that so many bytes may follow the position, as far as that can be known.
  ///
  /// - Throws: status 73.
  public func requireRoom(for count: UInt64) throws(Failure) {
    let status = try status()
    let start = isAppending ? status.size : position ?? 0
    let room: UInt64
    switch status.kind {
    case .blockDevice: room = try size()
    case .regular: room = Host.largestFile
    default: return
    }
    guard room >= start, room - start >= count else {
      throw Failure(
        .cannotCreate,
        "\(name): is too small: \(room - min(room, start)) bytes, \(count) are needed")
    }
  }

  /// Gives a new file its size, so that one which cannot get it is known before anything is written;
  /// but not where that would write all of it.
  ///
  /// A size beyond what the file system can hold, terabytes mostly, is no error yet: it is more likely
  /// a lie of the archive, which shows when that is read.
  ///
  /// - Throws: status 73.
  public func presetSize(_ size: UInt64) throws(Failure) {
    guard size <= Host.largestFile else { throw Failure(.cannotCreate, name, .fileTooLarge) }
    guard linux_file_system(raw) != linux_fuse else { return }
    if linux_file_system(raw) == linux_fat {
      guard size < 1 << 32 else { throw Failure(.cannotCreate, name, .fileTooLarge) }
      return
    }
    guard let size = off_t(exactly: size) else { return }
    do {
      try SystemCall.ftruncate.retry { ftruncate(raw, size) }
    } catch {
      if error != .fileTooLarge { throw Failure(.cannotCreate, name, error) }
    }
  }
}

/// What the kernel says of block devices.
enum BlockDevice {
  /// Where the bytes of a device really lie: in another device, or in a file.
  struct Backing {
    var identity: [UInt64]
    /// The file system of a file.
    var fileSystem: UInt64?
    /// The part that is used, in bytes; `isExact` where all of it is.
    var start: UInt64 = 0
    var size: UInt64 = .max
    var isExact = true
  }

  /// Whether a number is that of a block device, and not of a file system without one.
  static func exists(_ device: UInt64) -> Bool {
    (try? Descriptor.status(of: folder(device))) != nil
  }

  /// What a device is a part of, or lies on; empty where nothing is known.
  static func backings(of device: UInt64) -> [Backing] {
    let folder = folder(device)
    if number(folder.appending("partition")) != nil {
      // The folder is a link to the one inside the folder of the whole device.
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
    guard let file = try? Descriptor.open(path, .read), let buffer = try? Buffer(capacity: 4096),
      let count = try? file.read(into: buffer, 0..<buffer.capacity), count > 0
    else { return nil }
    let bytes = buffer.withBytes(0..<count) { bytes in bytes.indices.map { bytes[$0] } }
    return String(decoding: bytes.last == 10 ? bytes.dropLast() : bytes[...], as: UTF8.self)
  }
}

extension UInt64 {
  fileprivate func multipliedWithSaturation(by factor: UInt64) -> UInt64 {
    let (product, overflow) = multipliedReportingOverflow(by: factor)
    return overflow ? .max : product
  }
}

extension Host {
  /// A path without links.
  fileprivate static func realPath(_ path: FilePath) -> FilePath? {
    guard let resolved = unsafe realpath(path.string, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe FilePath(platformString: resolved)
  }

  /// The size that files of this process may have.
  static var largestFile: UInt64 {
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0 else {
      return .max
    }
    return UInt64(limit.rlim_cur)
  }

  /// The names in a directory, in no order; none where it cannot be read.
  static func names(in directory: String) -> [String] {
    guard let stream = unsafe opendir(directory) else { return [] }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}

// MARK: Files of another process

/// A process at the other end of a socket.
public struct PeerProcess: Sendable {
  let id: Int32

  /// The process that listens at the other end of a Unix socket; nil where that is not known.
  public init?(of socket: Int32) {
    // struct ucred: process, user, group.
    var credentials: [Int32] = [0, 0, 0]
    var size = socklen_t(12)
    let code = unsafe getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size)
    guard code == 0, credentials[0] > 0 else { return nil }
    id = credentials[0]
  }

  /// The files and devices that it has open: those that it writes, or all of them.
  func files(onlyWritten: Bool) -> [FileStatus] {
    Host.names(in: "/proc/\(id)/fd").compactMap { number in
      guard let status = try? Descriptor.status(of: FilePath("/proc/\(id)/fd/\(number)")),
        status.kind == .regular || status.kind == .blockDevice, let raw = Int32(number), raw > 2
      else { return nil }
      // The mode of the link says how the file was opened.
      guard
        onlyWritten,
        unsafe "/proc/\(id)/fd/\(number)".withCString({ unsafe linux_link_is_writable($0) }) == 0
      else { return status }
      return nil
    }
  }
}
