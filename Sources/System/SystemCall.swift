// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import SystemPackage

/// The system calls that can fail, by their C names. All of them go through `attempt`, so that
/// tests of a debug build can make them fail (see `FaultInjection`).
enum SystemCall: String, CaseIterable {
  case accept, bind, close, connect, fallocate, fchown, fchownat, fcntl, fstat, fstatat, fstatvfs,
    fsync, ftruncate, getsockopt, ioctl, linkat, listen, lseek, mkdir, mkdtemp, mmap, openat, pipe,
    poll, pread, pwrite, read, readlink, recv, renameat, renameat2, rmdir, send, socket, socketpair,
    syncfs,
    unlinkat, waitpid, write, writev
  case posixSpawn = "posix_spawn"
  case threadCreate = "pthread_create"
  /// Messages on standard error, which must be readable when a test makes all writes fail.
  case say
  /// openat of a file without a name.
  case openUnnamed = "tmpfile"
  /// fallocate that zeros a range without freeing it.
  case zeroRange = "zero_range"

  /// Makes the call once: -1 and `errno` if it fails.
  @inline(__always)
  func attempt<Value: BinaryInteger>(_ body: () -> Value) -> Value {
    #if DEBUG
      if let code = FaultInjection.strike(self).code {
        errno = code
        return -1
      }
    #endif
    return body()
  }

  /// Makes a call that moves bytes once.
  ///
  /// - Parameters:
  ///   - bytes: how many to move.
  ///   - body: moves at most that many.
  @inline(__always)
  func attempt<Value: BinaryInteger>(bytes: Int, _ body: (Int) -> Value) -> Value {
    #if DEBUG
      let fault = FaultInjection.strike(self)
      if let code = fault.code {
        errno = code
        return -1
      }
      return body(min(bytes, fault.mostBytes))
    #else
      return body(bytes)
    #endif
  }

  /// Retries an interrupted call; any other error is thrown.
  @discardableResult
  func retry<Value: BinaryInteger>(_ body: () -> Value) throws(Errno) -> Value {
    while true {
      let value = attempt(body)
      if value != -1 { return value }
      if errno != EINTR { throw Errno(rawValue: errno) }
    }
  }

  /// The same for a call about a path.
  @discardableResult
  func retry(
    _ path: FilePath, _ body: (UnsafePointer<CChar>) -> Int32
  ) throws(Errno) -> Int32 {
    try unsafe path.withPlatformString { path in
      Result { () throws(Errno) in try retry { unsafe body(path) } }
    }.get()
  }
}
