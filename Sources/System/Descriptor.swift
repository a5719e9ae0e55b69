// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import Synchronization
package import SystemPackage

/// An open file, pipe or device, closed with its last reference; errors name it.
///
/// All system calls on files are here. Each is retried on EINTR. Each failure to read or write is a
/// `Failure` with status 74 and the message of the system.
@safe package final class Descriptor: Sendable {
  package let raw: Int32
  /// The name of the file in messages.
  package let name: String
  private let isOwned: Bool

  package init(raw: Int32, name: String, isOwned: Bool = true) {
    self.raw = raw
    self.name = name
    self.isOwned = isOwned
  }

  deinit {
    if isOwned { _ = SystemCall.close.attempt { Glibc.close(raw) } }
  }

  package static let standardInput = Descriptor(raw: 0, name: "standard input", isOwned: false)
  package static let standardOutput = Descriptor(raw: 1, name: "standard output", isOwned: false)
  private static let hasWrittenOutput = Atomic(false)

  /// Closes standard output: some file systems report only then that a write failed.
  package static func closeStandardOutput() throws(Failure) {
    // If nothing was written there, it is not part of the result.
    guard hasWrittenOutput.load(ordering: .relaxed) else { return }
    if SystemCall.close.attempt({ Glibc.close(1) }) != 0, errno != EBADF, errno != EINTR {
      throw Failure(.inputOutput, standardOutput.name, Errno(rawValue: errno))
    }
  }

  package static let standardError = Descriptor(raw: 2, name: "standard error", isOwned: false)

  /// Retries an interrupted call; any other error is a failure to read or write this file.
  @discardableResult
  func io<Value: BinaryInteger>(
    _ call: SystemCall, _ body: () -> Value
  ) throws(Failure) -> Value {
    do { return try call.retry(body) } catch { throw Failure(.inputOutput, name, error) }
  }

  /// Retries a call that moves bytes until it moves some, or reaches the end.
  ///
  /// Another process that shares this file may make it non-blocking at any time. Then this waits as
  /// the blocking call would.
  ///
  /// - Parameters:
  ///   - bytes: how many to move.
  ///   - body: moves at most that many.
  func move(
    _ call: SystemCall, bytes: Int, _ body: (Int) -> Int
  ) throws(Failure) -> Int {
    let isReading = call == .read || call == .pread
    while true {
      let count = call.attempt(bytes: bytes, body)
      if count >= 0 {
        if raw == 1 { Self.hasWrittenOutput.store(true, ordering: .relaxed) }
        return count
      }
      switch errno {
      case EINTR: continue
      case EAGAIN: _ = wait(for: isReading ? POLLIN : POLLOUT, milliseconds: nil)
      case let code: throw failure(Errno(rawValue: code))
      }
    }
  }

  /// A device has no more space than its size, which the user may not know.
  private func failure(_ error: Errno) -> Failure {
    do {
      if error == .noSpace, try status().kind == .blockDevice {
        return Failure(.inputOutput, "\(name): \(error): the device has \(try size()) bytes")
      }
    } catch {
      // The first error is the reason, and is reported without the size.
    }
    return Failure(.inputOutput, name, error)
  }

  // MARK: Opening

  package struct OpenMode: OptionSet, Sendable {
    package let rawValue: Int32
    package init(rawValue: Int32) { self.rawValue = rawValue }
    package static let read = OpenMode(rawValue: O_RDONLY)
    package static let write = OpenMode(rawValue: O_WRONLY)
    package static let readWrite = OpenMode(rawValue: O_RDWR)
    package static let directory = OpenMode(rawValue: O_DIRECTORY)
    /// Only a position in the file system, which does not require read permission.
    package static let pathOnly = OpenMode(rawValue: linux_o_path)
    /// Fails with ELOOP if the last part of the path is a symbolic link.
    package static let notFollowing = OpenMode(rawValue: O_NOFOLLOW)
    /// For a block device: fails with EBUSY while it is mounted or otherwise in use.
    package static let exclusive = OpenMode(rawValue: O_EXCL)
    /// A new file, which must not exist; a symbolic link is not followed.
    package static let createNew = OpenMode(rawValue: O_CREAT | O_EXCL)
    /// A file without a name, in the directory that is opened.
    package static let unnamed = OpenMode(rawValue: linux_o_tmpfile)
  }

  /// Opens a file.
  ///
  /// - Parameters:
  ///   - path: relative to `directory`, or to the working directory.
  ///   - name: for messages; the path where nil.
  ///   - permissions: of a new file, before the umask.
  package static func open(
    _ path: FilePath, _ mode: OpenMode, in directory: Descriptor? = nil, name: String? = nil,
    permissions: UInt32 = 0o666
  ) throws(Errno) -> Descriptor {
    let call: SystemCall = mode.contains(.unnamed) ? .openUnnamed : .openat
    let raw = try unsafe call.retry(path) {
      unsafe linux_open_at(directory?.raw ?? AT_FDCWD, $0, mode.rawValue, permissions)
    }
    return Descriptor(raw: raw, name: name ?? path.string)
  }

  /// Opens a directory to create files in it, which does not require read permission.
  ///
  /// - Parameter path: the working directory if empty.
  package static func directory(at path: FilePath) throws(Errno) -> Descriptor {
    let path = path.isEmpty ? "." : path
    do {
      return try open(path, [.read, .directory])
    } catch {
      guard error == .permissionDenied else { throw error }
      return try open(path, [.pathOnly, .directory])
    }
  }

  // MARK: Reading and writing

  /// Reads available data, at most `range.count` bytes; 0 at the end.
  package func read(into buffer: Buffer, _ range: Range<Int>) throws(Failure) -> Int {
    try unsafe buffer.withPointer(range) { (bytes) throws(Failure) in
      try move(.read, bytes: bytes.count) { unsafe Glibc.read(raw, bytes.baseAddress, $0) }
    }
  }

  /// Reads at `offset` until `range` is full or the file ends; returns the bytes read.
  package func read(
    into buffer: Buffer, _ range: Range<Int>, at offset: UInt64
  ) throws(Failure) -> Int {
    try unsafe buffer.withPointer(range) { (bytes) throws(Failure) in
      var done = 0
      while done < bytes.count {
        let count = try move(.pread, bytes: bytes.count - done) {
          unsafe pread(
            raw, bytes.baseAddress.map { unsafe $0 + done }, $0, off_t(offset) + off_t(done))
        }
        if count == 0 { break }
        done += count
      }
      return done
    }
  }

  /// Reads until the range is full or the file ends; returns the bytes read.
  package func readFully(into buffer: Buffer, _ range: Range<Int>) throws(Failure) -> Int {
    var done = 0
    while done < range.count {
      let count = try read(into: buffer, range.lowerBound + done..<range.upperBound)
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// The content of a small file, at most this many bytes.
  package func contents(atMost count: Int) throws(Failure) -> [UInt8] {
    let buffer = try Buffer(capacity: count)
    let found = try readFully(into: buffer, 0..<count)
    return buffer.withBytes(0..<found) { bytes in bytes.indices.map { bytes[$0] } }
  }

  /// Writes all the bytes.
  package func write(_ buffer: Buffer, _ range: Range<Int>) throws(Failure) {
    try write(buffer, [range])
  }

  /// Writes all the bytes of all the ranges (at most 1024) without copying them.
  package func write(_ buffer: Buffer, _ ranges: [Range<Int>]) throws(Failure) {
    try write(ranges.map { (buffer, $0) })
  }

  /// Writes all the bytes of all the pieces (at most 1024) without copying them.
  package func write(_ pieces: [(buffer: Buffer, range: Range<Int>)]) throws(Failure) {
    var vectors: [iovec] = unsafe []
    unsafe vectors.reserveCapacity(pieces.count)
    for piece in pieces {
      unsafe piece.buffer.withPointer(piece.range) { bytes in
        unsafe vectors.append(iovec(iov_base: bytes.baseAddress, iov_len: bytes.count))
      }
    }
    var first = 0
    while unsafe first < vectors.count {
      var written = try unsafe vectors.withUnsafeBufferPointer { (vectors) throws(Failure) in
        try move(.writev, bytes: .max) { most in
          // Only a test wants fewer than all.
          guard most == .max else {
            return unsafe Glibc.write(
              raw, vectors[first].iov_base, min(most, vectors[first].iov_len))
          }
          return unsafe writev(
            raw, vectors.baseAddress.map { unsafe $0 + first }, Int32(vectors.count - first))
        }
      }
      while unsafe first < vectors.count && written >= vectors[first].iov_len {
        written -= unsafe vectors[first].iov_len
        first += 1
      }
      if written > 0 {
        unsafe vectors[first].iov_base = vectors[first].iov_base.map { unsafe $0 + written }
        unsafe vectors[first].iov_len -= written
      }
    }
    withExtendedLifetime(pieces) {}
  }

  /// Writes all the bytes at `offset`.
  package func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws(Failure) {
    try unsafe buffer.withPointer(range) { (bytes) throws(Failure) in
      var done = 0
      while done < bytes.count {
        done += try move(.pwrite, bytes: bytes.count - done) {
          unsafe pwrite(
            raw, bytes.baseAddress.map { unsafe $0 + done }, $0, off_t(offset) + off_t(done))
        }
      }
    }
  }

  /// Writes all of a text or a small piece of data.
  package func write(_ bytes: [UInt8]) throws(Failure) {
    try unsafe bytes.withUnsafeBufferPointer { (bytes) throws(Failure) in
      try unsafe write(UnsafeRawBufferPointer(bytes))
    }
  }

  /// Writes all the bytes of a library's memory.
  @unsafe package func write(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
    var done = 0
    while done < bytes.count {
      done += try move(raw == 2 ? .say : .write, bytes: bytes.count - done) {
        unsafe Glibc.write(raw, bytes.baseAddress.map { unsafe $0 + done }, $0)
      }
    }
  }

  // MARK: Places and sizes

  package func status() throws(Failure) -> FileStatus {
    var status = stat()
    try io(.fstat) { unsafe fstat(raw, &status) }
    return FileStatus(status)
  }

  /// The file that a path leads to; nil if it does not exist.
  package static func status(
    of path: FilePath, in directory: Descriptor? = nil, following: Bool = true
  ) throws(Errno) -> FileStatus? {
    var status = stat()
    do {
      try unsafe SystemCall.fstatat.retry(path) {
        unsafe fstatat(directory?.raw ?? AT_FDCWD, $0, &status, following ? 0 : AT_SYMLINK_NOFOLLOW)
      }
      return FileStatus(status)
    } catch {
      if error == .noSuchFileOrDirectory { return nil }
      throw error
    }
  }

  /// Bytes of a regular file or a block device.
  package func size() throws(Failure) -> UInt64 {
    let status = try status()
    guard status.kind == .blockDevice else { return status.size }
    var size: UInt64 = 0
    try io(.ioctl) { unsafe linux_block_device_size(raw, &size) }
    return size
  }

  /// The position of the next read or write; nil if the file has none, such as a pipe.
  package var position: UInt64? {
    let position = SystemCall.lseek.attempt { lseek(raw, 0, SEEK_CUR) }
    return position < 0 ? nil : UInt64(position)
  }

  package func seek(to offset: UInt64) throws(Failure) {
    try io(.lseek) { lseek(raw, off_t(offset), SEEK_SET) }
  }

  /// The next data (or hole) at or after `offset`; nil if there is none before the end.
  ///
  /// - Throws: `Errno` if the file does not report holes.
  package func next(data: Bool, at offset: UInt64) throws(Errno) -> UInt64? {
    do {
      let found = try SystemCall.lseek.retry {
        lseek(raw, off_t(offset), data ? linux_seek_data : linux_seek_hole)
      }
      return UInt64(found)
    } catch {
      if error == .noSuchAddressOrDevice { return nil }
      throw error
    }
  }

  package func truncate(to size: UInt64) throws(Failure) {
    guard let size = off_t(exactly: size) else { throw Failure(.inputOutput, name, .fileTooLarge) }
    try io(.ftruncate) { ftruncate(raw, size) }
  }

  /// Frees a range, which then reads as zeros; false if the file system cannot.
  package func punchHole(_ range: Range<UInt64>) -> Bool {
    (try? SystemCall.fallocate.retry {
      linux_punch_hole(raw, Int64(range.lowerBound), Int64(range.count))
    }) != nil
  }

  /// Makes a range read as zeros without freeing it; false if the file system or device cannot.
  package func zeroRange(_ range: Range<UInt64>) -> Bool {
    let zeroed =
      (try? SystemCall.zeroRange.retry {
        linux_zero_range(raw, Int64(range.lowerBound), Int64(range.count))
      })
      ?? (try? SystemCall.ioctl.retry {
        linux_block_device_zero(raw, range.lowerBound, UInt64(range.count))
      })
    return zeroed != nil
  }

  /// The alignment of offsets and lengths for `punchHole` and `zeroRange`.
  package func zeroingUnit() throws(Failure) -> UInt64 {
    try status().kind == .blockDevice ? UInt64(linux_logical_block_size(raw)) : 1
  }

  /// Writes the data to stable storage, if this file has any.
  package func sync() throws(Failure) {
    do {
      try SystemCall.fsync.retry { fsync(raw) }
    } catch {
      // Pipes and some special files cannot be synced and need not be.
      if error != .invalidArgument && error != .readOnlyFileSystem {
        throw Failure(.inputOutput, name, error)
      }
    }
  }

  /// Writes the names in this directory to stable storage; if it cannot be read, together with the
  /// rest of its file system.
  ///
  /// - Parameter file: a file in the directory.
  package func syncNames(with file: Descriptor) throws(Failure) {
    let flags = linux_status_flags(raw)
    guard flags >= 0, flags & linux_o_path != 0 else { return try sync() }
    try file.io(.syncfs) { linux_sync_file_system(file.raw) }
  }

  /// Whether this process inherited a descriptor with this number.
  package static func isInherited(_ raw: Int32) -> Bool { linux_is_inherited(raw) != 0 }

  /// Whether reading returns at once: with data, or at the end.
  ///
  /// - Parameter milliseconds: how long to wait for that.
  package func isReadable(within milliseconds: Int32 = 0) -> Bool {
    wait(for: POLLIN, milliseconds: milliseconds)
  }

  /// Waits until something can be read or written, or has failed.
  ///
  /// - Parameter milliseconds: how long; nil for no limit.
  /// - Returns: false on timeout.
  package func wait(for events: Int32, milliseconds: Int32?) -> Bool {
    let limit = milliseconds.map { Host.uptime + Double($0) / 1000 }
    while true {
      let rest = limit.map { Int32(max(0, ($0 - Host.uptime) * 1000).rounded(.up)) } ?? -1
      var poll = pollfd(fd: raw, events: Int16(events), revents: 0)
      let count = SystemCall.poll.attempt { unsafe Glibc.poll(&poll, 1, rest) }
      // A process that was stopped and continued is interrupted here, too.
      if count < 0, errno == EINTR { continue }
      if count < 0 { Host.sleep(milliseconds: 1) }
      if count > 0 || count < 0 && milliseconds == nil { return true }
      if rest == 0 || count < 0 { return false }
    }
  }

  /// Waits until reading returns at once: with data, or at the end.
  package func waitUntilReadable() {
    while !wait(for: POLLIN, milliseconds: nil) {}
  }

  package var isTerminal: Bool { isatty(raw) == 1 }

  /// Whether this was opened for writing.
  package var isWritable: Bool {
    let flags = linux_status_flags(raw)
    return flags >= 0 && flags & O_ACCMODE != O_RDONLY && flags & linux_o_path == 0
  }

  package var isAppending: Bool {
    let flags = linux_status_flags(raw)
    return flags >= 0 && flags & O_APPEND != 0
  }

  /// Requests a large pipe, so that both sides switch less often; no effect on other files.
  package func widenPipe() {
    _ = linux_set_pipe_size(raw, 1 << 20)
  }

  package func adviseSequential() {
    _ = posix_fadvise(raw, 0, 0, POSIX_FADV_SEQUENTIAL)
  }

  /// The number of columns, if this is a terminal.
  package var terminalWidth: Int? {
    var size = winsize()
    guard unsafe ioctl(raw, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
    return Int(size.ws_col)
  }
}
