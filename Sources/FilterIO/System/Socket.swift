// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
public import SystemPackage

/// Unix stream sockets.
extension Descriptor {
  /// Connects to the socket at a path; the connection does not block.
  ///
  /// - Parameter milliseconds: how long to wait where many others wait for the same socket.
  /// - Throws: what connect(2) says of the path: no such file, connection refused, permission
  ///   denied; `resourceTemporarilyUnavailable` when the time is over.
  public static func connect(to path: FilePath, milliseconds: Int) throws(Errno) -> Descriptor {
    let socket = try unixSocket(name: path.string, isBlocking: false)
    // An address holds 107 bytes; the folder, opened, makes any path short.
    let folder = path.removingLastComponent()
    let directory = try open(folder.isEmpty ? "." : folder, .directory)
    let short = FilePath("/proc/self/fd/\(directory.raw)/\(path.lastComponent?.string ?? "")")
    let address = path.string.utf8.count < maximumPathSize ? path : short
    let end = Host.uptime + Double(milliseconds) / 1000
    while true {
      do {
        try unsafe withAddress(.connect, address) { address, size in
          unsafe Glibc.connect(socket.raw, address, size)
        }
        break
      } catch {
        // The queue of those that wait is full. Nothing tells when it is not.
        guard error == .resourceTemporarilyUnavailable, Host.uptime < end else { throw error }
        Host.sleep(milliseconds: 20)
      }
    }
    withExtendedLifetime(directory) {}
    return socket
  }

  /// Makes a socket at a path and listens there.
  public static func listen(at path: FilePath) throws(Errno) -> Descriptor {
    let socket = try unixSocket(name: path.string, isBlocking: true)
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

  /// Reads what a socket has now.
  ///
  /// - Returns: bytes read, 0 at the end; nil where nothing is there yet.
  public func readNow(into buffer: Buffer, _ range: Range<Int>) throws(Errno) -> Int? {
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

  /// Writes what a socket takes now.
  ///
  /// - Returns: bytes written; nil where it takes nothing yet.
  public func writeNow(_ bytes: some Collection<UInt8>) throws(Errno) -> Int? {
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

  /// Ends a connection in both directions; whoever waits in it is told.
  public func shutDown() {
    _ = shutdown(raw, Int32(SHUT_RDWR))
  }

  /// The user as whom the other side of a unix socket opens files; nil if that is not known.
  ///
  /// The socket itself tells who called listen(2), which is root where a server has dropped its
  /// user after that.
  public var peerUser: UInt32? {
    // struct ucred: process, user, group; it is behind _GNU_SOURCE.
    var credentials: [UInt32] = [0, 0, 0]
    var size = socklen_t(12)
    let code = SystemCall.getsockopt.attempt {
      unsafe getsockopt(raw, SOL_SOCKET, SO_PEERCRED, &credentials, &size)
    }
    guard code == 0, size == 12 else { return nil }
    return Host.fileSystemUser(ofProcess: credentials[0]) ?? credentials[1]
  }

  /// What fits `sun_path`, with its NUL.
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
}

/// A folder that only its owner can enter, gone at the end of the run, whatever that is.
///
/// It lies where others can write, and may be given to another user. So after it is created nothing
/// is done by its path, which may lead elsewhere by then, but by descriptors.
@safe public final class PrivateDirectory: Sendable {
  public let path: FilePath
  private let place: Place
  private let cleanup: Int

  /// A directory, the one it is in, and its name there.
  private struct Place: Sendable {
    var parent: Descriptor
    var name: FilePath
    var directory: Descriptor
    var files: [FilePath]

    init(parent: Descriptor, name: FilePath, directory: Descriptor, files: [FilePath]) {
      self.parent = parent
      self.name = name
      self.directory = directory
      self.files = files
    }

    /// Creates a directory of a name that is new.
    init(in path: FilePath, prefix: String, files: [FilePath]) throws(Errno) {
      let parent = try Descriptor.open(path, .directory)
      var template = "/proc/self/fd/\(parent.raw)/\(prefix)XXXXXX".utf8CString.map { $0 }
      try SystemCall.mkdtemp.retry { unsafe mkdtemp(&template) == nil ? -1 : 0 }
      let name = FilePath(FilePath(platformString: template).lastComponent?.string ?? "")
      let directory: Descriptor
      do {
        directory = try Descriptor.open(name, [.directory, .notFollowing], in: parent)
      } catch {
        parent.removeDirectory(name)
        throw error
      }
      self.init(parent: parent, name: name, directory: directory, files: files)
      try check()
    }

    /// In a folder where anybody may rename, it may be somebody else's by now.
    func check() throws(Errno) {
      var status = stat()
      try SystemCall.fstat.retry { unsafe fstat(directory.raw, &status) }
      guard status.st_uid == geteuid(), status.st_mode & 0o7777 == 0o700 else {
        throw .notPermitted
      }
    }

    func remove() {
      for file in files { directory.unlink(file) }
      let identity = try? directory.status().identity
      // Another one of that name is not ours to remove.
      guard let identity,
        let found = try? Descriptor.status(of: name, in: parent, following: false),
        found.identity == identity
      else { return }
      parent.removeDirectory(name)
    }
  }

  /// - Parameters:
  ///   - parent: where to create it.
  ///   - prefix: what its name begins with.
  ///   - files: names of those that will be in it, to be removed with it.
  public init(in parent: FilePath, prefix: String, files: [String]) throws(Failure) {
    do throws(Errno) {
      // A signal comes before all of it, or finds the action that removes it.
      (place, cleanup) = try Cleanup.uninterrupted { () throws(Errno) in
        let place = try Place(in: parent, prefix: prefix, files: files.map { FilePath($0) })
        return (place, Cleanup.add { place.remove() })
      }
    } catch {
      throw Failure(.cannotCreate, parent.string, error)
    }
    path = parent.appending(place.name.components)
  }

  /// The folder of a socket that another process of this program has created, and cannot remove if
  /// it is killed.
  public init(of socket: FilePath) throws(Failure) {
    path = socket.removingLastComponent()
    do throws(Errno) {
      let parent = try Descriptor.open(path.removingLastComponent(), .directory)
      let name = FilePath(path.lastComponent?.string ?? "")
      let directory = try Descriptor.open(name, [.directory, .notFollowing], in: parent)
      let place = Place(
        parent: parent, name: name, directory: directory,
        files: [FilePath(socket.lastComponent?.string ?? "")])
      try place.check()
      self.place = place
      cleanup = Cleanup.add { place.remove() }
    } catch {
      throw Failure(.cannotCreate, path.string, error)
    }
  }

  /// Gives the folder and its files to another user, which root can; the files first, as long as
  /// nobody else can put others in their place.
  public func give(to user: UInt32) throws(Failure) {
    do {
      for file in place.files {
        try unsafe SystemCall.fchownat.retry(file) {
          unsafe fchownat(place.directory.raw, $0, user, gid_t.max, AT_SYMLINK_NOFOLLOW)
        }
      }
      try SystemCall.fchown.retry { fchown(place.directory.raw, user, gid_t.max) }
    } catch {
      throw Failure(.cannotCreate, "\(path): cannot be given to user \(user)", error)
    }
  }

  public func remove() {
    Cleanup.cancel(cleanup)
    place.remove()
  }

  /// Removes the folder of a run that was killed, found by the socket in it.
  ///
  /// - Parameter socket: a path that is not trusted: only a socket is removed, and only a folder
  ///   with a name as `init` gives it.
  public static func removeRemains(of socket: FilePath, prefix: String) {
    let path = socket.removingLastComponent()
    guard let file = socket.lastComponent, let name = path.lastComponent,
      name.string.hasPrefix(prefix), name.string.utf8.count == prefix.utf8.count + 6,
      let parent = try? Descriptor.open(path.removingLastComponent(), .directory),
      let directory = try? Descriptor.open(
        FilePath(name.string), [.directory, .notFollowing], in: parent),
      let status = try? Descriptor.status(
        of: FilePath(file.string), in: directory, following: false), status.kind == .socket
    else { return }
    Place(
      parent: parent, name: FilePath(name.string), directory: directory,
      files: [FilePath(file.string)]
    ).remove()
  }
}

extension Host {
  public static var processID: Int32 { getpid() }
  public static var userID: UInt32 { getuid() }

  /// The user as whom a process opens files; nil where the process cannot be seen from here.
  static func fileSystemUser(ofProcess process: UInt32) -> UInt32? {
    guard process > 0,
      let file = try? Descriptor.open(FilePath("/proc/\(process)/status"), .read),
      let buffer = try? Buffer(capacity: 4096),
      let count = try? file.read(into: buffer, 0..<buffer.capacity)
    else { return nil }
    let text = buffer.withBytes(0..<count) { bytes in
      String(decoding: bytes.indices.map { bytes[$0] }, as: UTF8.self)
    }
    // Real, effective, saved, and that of files.
    let line = text.split(separator: "\n").first { $0.hasPrefix("Uid:") }
    let users = line?.split(whereSeparator: \.isWhitespace).dropFirst().map { UInt32($0) } ?? []
    return users.count == 4 ? users[3] : nil
  }

  /// The number of a user, who is given by name or by number.
  public static func userID(named name: String) -> UInt32? {
    if let number = UInt32(name) { return number }
    guard let entry = unsafe getpwnam(name) else { return nil }
    return unsafe entry.pointee.pw_uid
  }

  public static func sleep(milliseconds: UInt32) {
    usleep(milliseconds * 1000)
  }
}
