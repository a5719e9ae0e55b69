// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
package import SystemPackage

/// Another process of the same program, which inherits two descriptors.
@safe package final class Worker {
  package enum End: Sendable {
    case exit(Int32)
    case signal(Int32)
  }

  /// The numbers of the descriptors in the worker.
  package static let inherited: (listener: Int32, control: Int32) = (3, 4)

  private var process = pid_t()

  /// Starts it in its own process group: a signal to the group of this process, even SIGKILL, does
  /// not reach the worker.
  ///
  /// - Parameter argument: an argument that is added to those of this process.
  package init(adding argument: String, listener: Descriptor, control: Descriptor) throws(Errno) {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    // Avoids the numbers that they will get.
    let high = try [listener, control].map { descriptor throws(Errno) in
      try SystemCall.fcntl.retry { linux_duplicate_above(descriptor.raw, 16) }
    }
    defer { for raw in high { Glibc.close(raw) } }
    unsafe posix_spawn_file_actions_adddup2(&actions, high[0], Self.inherited.listener)
    unsafe posix_spawn_file_actions_adddup2(&actions, high[1], Self.inherited.control)

    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    // The worker does not inherit the signals that we block.
    unsafe posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETPGROUP))

    let arguments = CommandLine.arguments + [argument]
    var words: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
    defer { unsafe words.forEach { unsafe free($0) } }
    let code = SystemCall.posixSpawn.attempt {
      let code = unsafe posix_spawn(
        &process, "/proc/self/exe", &actions, &attributes, &words, linux_environment())
      errno = code
      return code == 0 ? 0 : -1
    }
    guard code == 0 else { throw Errno(rawValue: errno) }
  }

  package func send(_ signal: Int32) { kill(process, signal) }

  /// How the process ended; nil while it runs.
  package func end() -> End? {
    var status: Int32 = 0
    guard unsafe waitpid(process, &status, WNOHANG) == process else { return nil }
    return status & 0x7f == 0 ? .exit(status >> 8 & 0xff) : .signal(status & 0x7f)
  }
}
