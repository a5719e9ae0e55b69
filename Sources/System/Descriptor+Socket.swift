// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
package import SystemPackage

/// Unix stream sockets.
extension Descriptor {
  /// Connects to the socket at a path; the connection does not block.
  ///
  /// - Parameter milliseconds: how long to wait if many others wait for the same socket.
  /// - Throws: the error of connect(2): no such file, connection refused, permission denied;
  ///   `resourceTemporarilyUnavailable` on timeout.
  package static func connect(to path: FilePath, milliseconds: Int) throws(Errno) -> Descriptor {
    let socket = try unixSocket(name: path.string, isBlocking: false)
    // An address holds 107 bytes. A path through the opened folder is always short.
    var (address, directory) = (path, Descriptor?.none)
    if path.string.utf8.count >= maximumPathSize {
      let folder = try self.directory(at: path.removingLastComponent())
      address = FilePath("/proc/self/fd/\(folder.raw)/\(path.lastComponent?.string ?? "")")
      directory = folder
    }
    let end = Host.uptime + Double(milliseconds) / 1000
    while true {
      do {
        try unsafe withAddress(.connect, address) { address, size in
          unsafe Glibc.connect(socket.raw, address, size)
        }
        break
      } catch {
        // The queue of waiting clients is full. No event reports when it is not.
        guard error == .resourceTemporarilyUnavailable, Host.uptime < end else { throw error }
        Host.sleep(milliseconds: 20)
      }
    }
    withExtendedLifetime(directory) {}
    return socket
  }

  /// Creates a socket at a path and listens there.
  package static func listen(at path: FilePath) throws(Errno) -> Descriptor {
    let socket = try unixSocket(name: path.string, isBlocking: true)
    try unsafe withAddress(.bind, path) { address, size in unsafe bind(socket.raw, address, size) }
    try SystemCall.listen.retry { Glibc.listen(socket.raw, 16) }
    return socket
  }

  /// Waits for the next connection to a listening socket.
  package func accept() throws(Errno) -> Descriptor {
    let raw = try SystemCall.accept.retry { Glibc.accept(self.raw, nil, nil) }
    _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
    return Descriptor(raw: raw, name: name)
  }

  /// Reads what a socket has received.
  ///
  /// - Returns: bytes read, 0 at the end; nil if no data is available yet.
  package func readNow(into buffer: Buffer, _ range: Range<Int>) throws(Errno) -> Int? {
    do {
      return try unsafe buffer.withPointer(range) { (bytes) throws(Errno) -> Int in
        try SystemCall.recv.retry {
          unsafe recv(raw, bytes.baseAddress, bytes.count, linux_msg_dontwait)
        }
      }
    } catch {
      if error == .resourceTemporarilyUnavailable { return nil }
      throw error
    }
  }

  /// Writes what a socket accepts now.
  ///
  /// - Returns: bytes written; nil if it accepts nothing yet.
  package func writeNow(_ bytes: some Collection<UInt8>) throws(Errno) -> Int? {
    let bytes = Array(bytes)
    do {
      return try unsafe bytes.withUnsafeBufferPointer { (bytes) throws(Errno) -> Int in
        try SystemCall.send.retry {
          unsafe send(raw, bytes.baseAddress, bytes.count, linux_msg_dontwait | linux_msg_nosignal)
        }
      }
    } catch {
      if error == .resourceTemporarilyUnavailable { return nil }
      throw error
    }
  }

  /// Ends a connection in both directions; a thread that waits in it returns.
  package func shutDown() {
    _ = shutdown(raw, Int32(SHUT_RDWR))
  }

  /// The user that the other side of a Unix socket opens files as; nil if that is not known.
  ///
  /// The socket itself reports who called listen(2). If a server changed its user later, that is
  /// root.
  package var peerUser: UInt32? {
    // struct ucred: process, user, group; it requires _GNU_SOURCE.
    var credentials: [UInt32] = [0, 0, 0]
    var size = socklen_t(12)
    let code = SystemCall.getsockopt.attempt {
      unsafe getsockopt(raw, SOL_SOCKET, SO_PEERCRED, &credentials, &size)
    }
    guard code == 0, size == 12 else { return nil }
    return Host.fileSystemUser(ofProcess: credentials[0]) ?? credentials[1]
  }

  /// The maximum length of `sun_path`, with its NUL.
  private static let maximumPathSize = 108

  private static func unixSocket(name: String, isBlocking: Bool) throws(Errno) -> Descriptor {
    let kind =
      Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
      | (isBlocking ? 0 : Int32(SOCK_NONBLOCK.rawValue))
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

  /// Two connected ends that preserve message boundaries; reading returns 0 once the other end is
  /// closed.
  package static func messagePair() throws(Errno) -> (Descriptor, Descriptor) {
    var ends: [Int32] = [-1, -1]
    try SystemCall.socketpair.retry { unsafe linux_message_pair(&ends) }
    return (
      Descriptor(raw: ends[0], name: "control"), Descriptor(raw: ends[1], name: "control")
    )
  }

  /// A descriptor that this process inherited; nil if it is not a socket.
  package static func inheritedSocket(_ raw: Int32) -> Descriptor? {
    var status = stat()
    guard unsafe fstat(raw, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return nil }
    linux_close_on_exec(raw)
    return Descriptor(raw: raw, name: "descriptor \(raw)")
  }

  /// The path that a Unix socket is bound to.
  package var boundPath: FilePath? {
    var address = sockaddr_un()
    var size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let code = unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getsockname(raw, $0, &size)
      }
    }
    guard code == 0, address.sun_family == AF_UNIX else { return nil }
    let bytes = unsafe withUnsafeBytes(of: &address.sun_path) { path in
      unsafe Array(path.prefix { $0 != 0 })
    }
    return bytes.isEmpty ? nil : FilePath(bytes: bytes)
  }

  /// The next connection to a listening socket; nil if none is waiting.
  package func acceptNow() throws(Errno) -> Descriptor? {
    // The worker may share the socket, so it cannot be made non-blocking.
    guard isReadable() else { return nil }
    let raw = try SystemCall.accept.retry { linux_accept(self.raw) }
    return Descriptor(raw: raw, name: name)
  }

  /// Replaces standard output with /dev/null, for a process that only watches another one write.
  package static func giveUpStandardOutput() {
    let null = unsafe linux_open_at(AT_FDCWD, "/dev/null", O_RDONLY, 0)
    if null < 0 {
      Glibc.close(1)
    } else if null != 1 {
      dup2(null, 1)
      Glibc.close(null)
    }
  }
}
