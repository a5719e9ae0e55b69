// SPDX-License-Identifier: Apache-2.0

internal import Glibc
public import SystemPackage

/// Unix stream sockets.
extension Descriptor {
  /// Connects to the socket at a path.
  ///
  /// - Throws: `Errno.noMemory` aside, what connect(2) says of the path: no such file, connection
  ///   refused, permission denied.
  public static func connect(to path: FilePath) throws(Errno) -> Descriptor {
    let socket = try unixSocket(name: path.string)
    // An address holds 107 bytes; the folder, opened, makes any path short.
    let folder = path.removingLastComponent()
    let directory = try open(folder.isEmpty ? "." : folder, .directory)
    let short = FilePath("/proc/self/fd/\(directory.raw)/\(path.lastComponent?.string ?? "")")
    let address = path.string.utf8.count < maximumPathSize ? path : short
    try unsafe withAddress(.connect, address) { address, size in
      unsafe Glibc.connect(socket.raw, address, size)
    }
    withExtendedLifetime(directory) {}
    return socket
  }

  /// Makes a socket at a path and listens there.
  public static func listen(at path: FilePath) throws(Errno) -> Descriptor {
    let socket = try unixSocket(name: path.string)
    try unsafe withAddress(.bind, path) { address, size in unsafe bind(socket.raw, address, size) }
    try SystemCall.listen.retry { Glibc.listen(socket.raw, 16) }
    return socket
  }

  /// The next connection to a listening socket, waiting for it.
  public func accept() throws(Errno) -> Descriptor {
    let raw = try SystemCall.accept.retry { Glibc.accept(self.raw, nil, nil) }
    _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
    return Descriptor(raw: raw, name: name)
  }

  /// Ends a connection in both directions; whoever waits in it is told.
  public func shutDown() {
    _ = shutdown(raw, Int32(SHUT_RDWR))
  }

  /// The user that has the other side of a unix socket.
  public var peerUser: UInt32? {
    // struct ucred: process, user, group; it is behind _GNU_SOURCE.
    var credentials: [UInt32] = [0, 0, 0]
    var size = socklen_t(12)
    let code = SystemCall.getsockopt.attempt {
      unsafe getsockopt(raw, SOL_SOCKET, SO_PEERCRED, &credentials, &size)
    }
    return code == 0 && size == 12 ? credentials[1] : nil
  }

  /// What fits `sun_path`, with its NUL.
  private static let maximumPathSize = 108

  private static func unixSocket(name: String) throws(Errno) -> Descriptor {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    return Descriptor(raw: try SystemCall.socket.retry { socket(AF_UNIX, kind, 0) }, name: name)
  }

  private static func withAddress(
    _ system: SystemCall, _ path: FilePath, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) throws(Errno) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = unsafe path.withPlatformString { unsafe Array(String(cString: $0).utf8) }
    guard bytes.count < maximumPathSize else { throw .fileNameTooLong }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    try unsafe withUnsafePointer(to: &address) { pointer in
      Result { () throws(Errno) in
        try unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
          Result { () throws(Errno) in
            _ = try system.retry { unsafe call(pointer, size) }
          }
        }.get()
      }
    }.get()
  }
}

/// A folder that only its owner can enter, gone at the end of the run, whatever that is.
@safe public final class PrivateDirectory: Sendable {
  public let path: FilePath
  private let files: [FilePath]
  private let cleanup: Int

  /// - Parameters:
  ///   - parent: where to make it.
  ///   - prefix: what its name begins with.
  ///   - files: names of those that will be in it, to be removed with it.
  public init(in parent: FilePath, prefix: String, files: [String]) throws(Failure) {
    var template = parent.appending("\(prefix)XXXXXX").string.utf8CString.map { $0 }
    guard SystemCall.mkdtemp.attempt({ unsafe mkdtemp(&template) == nil ? -1 : 0 }) == 0 else {
      throw Failure(.cannotCreate, parent.string, Errno(rawValue: errno))
    }
    let path = FilePath(platformString: template)
    let files = files.map { path.appending($0) }
    self.path = path
    self.files = files
    cleanup = Cleanup.add { Self.remove(path, files) }
  }

  /// Gives the folder and its files to another user, which root can.
  public func give(to user: UInt32) {
    for path in [path] + files {
      _ = try? unsafe SystemCall.lchown.retry(path) { unsafe lchown($0, user, gid_t.max) }
    }
  }

  public func remove() {
    Cleanup.cancel(cleanup)
    Self.remove(path, files)
  }

  private static func remove(_ path: FilePath, _ files: [FilePath]) {
    for file in files {
      _ = try? unsafe SystemCall.unlinkat.retry(file) { unsafe unlinkat(AT_FDCWD, $0, 0) }
    }
    Descriptor.removeDirectory(path)
  }
}

extension Host {
  public static var processID: Int32 { getpid() }
  public static var userID: UInt32 { getuid() }

  public static func sleep(milliseconds: UInt32) {
    usleep(milliseconds * 1000)
  }
}
