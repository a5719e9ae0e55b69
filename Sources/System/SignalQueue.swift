// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import SystemPackage

/// The signals of a process that has only one thread, read as they arrive.
@safe package final class SignalQueue {
  package let descriptor: Descriptor
  private let buffer: Buffer

  /// From now on, no signal ends or stops the process, except those that cannot be blocked.
  package init() throws {
    buffer = try Buffer(capacity: 128)
    for signal in [SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGXFSZ] { SignalMask.ignore(signal) }
    var all = sigset_t()
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_SETMASK, &all, nil)
    let raw = unsafe linux_signal_descriptor(&all)
    guard raw >= 0 else { throw Failure(.general, "signals", Errno(rawValue: errno)) }
    descriptor = Descriptor(raw: raw, name: "signals")
  }

  package enum Meaning: Sendable {
    /// The worker has exited, or its state has changed.
    case child
    case other(Int32)
  }

  /// The next signal; nil if none is pending.
  package func next() -> Meaning? {
    guard descriptor.isReadable(),
      let count = try? descriptor.read(into: buffer, 0..<128), count == 128
    else { return nil }
    // struct signalfd_siginfo begins with the number.
    let number = buffer.withBytes(0..<4) { bytes in
      (0..<4).reduce(Int32(0)) { $0 | Int32(bytes[$1]) << (8 * Int32($1)) }
    }
    return number == SIGCHLD ? .child : .other(number)
  }
}
