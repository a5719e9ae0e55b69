// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
public import SystemPackage

/// Another process of the same program, which inherits two descriptors.
@safe public final class Worker {
  public enum End: Sendable {
    case exit(Int32)
    case signal(Int32)
  }

  /// The numbers that the descriptors have in the worker.
  public static let inherited: (listener: Int32, control: Int32) = (3, 4)

  private var process = pid_t()

  /// Starts it in a process group of its own: what is sent to the group of this process, even
  /// SIGKILL, reaches this process alone.
  ///
  /// - Parameter argument: an argument that is added to those of this process.
  public init(adding argument: String, listener: Descriptor, control: Descriptor) throws(Errno) {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    // Out of the way of the numbers that they get.
    let high = try [listener, control].map { descriptor throws(Errno) in
      try SystemCall.fcntl.retry { linux_duplicate_above(descriptor.raw, 16) }
    }
    defer { for raw in high { Glibc.close(raw) } }
    unsafe posix_spawn_file_actions_adddup2(&actions, high[0], Self.inherited.listener)
    unsafe posix_spawn_file_actions_adddup2(&actions, high[1], Self.inherited.control)

    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    // The signals that we block are not blocked for it.
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

  public func send(_ signal: Int32) { kill(process, signal) }

  /// How the process has ended; nil while it runs.
  public func end() -> End? {
    var status: Int32 = 0
    guard unsafe waitpid(process, &status, WNOHANG) == process else { return nil }
    return status & 0x7f == 0 ? .exit(status >> 8 & 0xff) : .signal(status & 0x7f)
  }
}

/// The signals of a process that has one thread only, to be read as they come.
@safe public final class SignalQueue {
  public let descriptor: Descriptor
  private let buffer: Buffer

  /// From now on no signal ends or stops the process, but those that none can do without.
  public init() throws {
    buffer = try Buffer(capacity: 128)
    for signal in [SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGXFSZ] { SignalMask.ignore(signal) }
    var all = sigset_t()
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_SETMASK, &all, nil)
    let raw = unsafe linux_signal_descriptor(&all)
    guard raw >= 0 else { throw Failure(.general, "signals", Errno(rawValue: errno)) }
    descriptor = Descriptor(raw: raw, name: "signals")
  }

  public enum Meaning: Sendable {
    /// The worker has ended, or something else about it has changed.
    case child
    case other(Int32)
  }

  /// The next signal; nil if there is none.
  public func next() -> Meaning? {
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

/// What a loop waits for.
public struct Readiness: Sendable {
  private var entries: [pollfd] = []

  public init() {}

  /// - Returns: a number to ask `isReady` by.
  @discardableResult
  public mutating func add(_ descriptor: Descriptor, writing: Bool = false) -> Int {
    let events = Int16(POLLIN) | (writing ? Int16(POLLOUT) : 0)
    entries.append(pollfd(fd: descriptor.raw, events: events, revents: 0))
    return entries.count - 1
  }

  /// Waits until one of them is ready.
  public mutating func wait(milliseconds: Int) {
    _ = unsafe poll(&entries, nfds_t(entries.count), Int32(clamping: milliseconds))
  }

  public func isReady(_ number: Int) -> Bool { entries[number].revents != 0 }
}

extension Descriptor {
  /// Two connected ends that keep messages apart; reading them gives 0 when the other end is closed.
  public static func messagePair() throws(Errno) -> (Descriptor, Descriptor) {
    var ends: [Int32] = [-1, -1]
    try SystemCall.socketpair.retry { unsafe linux_message_pair(&ends) }
    return (
      Descriptor(raw: ends[0], name: "control"), Descriptor(raw: ends[1], name: "control")
    )
  }

  /// A descriptor that this process was started with; nil if it is not a socket.
  public static func inheritedSocket(_ raw: Int32) -> Descriptor? {
    var status = stat()
    guard unsafe fstat(raw, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return nil }
    linux_close_on_exec(raw)
    return Descriptor(raw: raw, name: "descriptor \(raw)")
  }

  /// Where a unix socket is bound.
  public var boundPath: FilePath? {
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

  /// The next connection to a listening socket; nil if nobody waits for one.
  public func acceptNow() throws(Errno) -> Descriptor? {
    // The worker may share the socket, so it cannot be made one that does not block.
    guard isReadable() else { return nil }
    let raw = try SystemCall.accept.retry { linux_accept(self.raw) }
    return Descriptor(raw: raw, name: name)
  }

  /// Replaces standard output by nothing, for a process that only watches another one write.
  public static func giveUpStandardOutput() {
    let null = unsafe linux_open_at(AT_FDCWD, "/dev/null", O_RDONLY, 0)
    if null < 0 {
      Glibc.close(1)
    } else if null != 1 {
      dup2(null, 1)
      Glibc.close(null)
    }
  }
}

extension Host {
  /// Makes this process a better choice than most when the kernel is out of memory, and gives it a
  /// name of its own.
  public static func becomeWorker(name: String) {
    unsafe linux_name_process(name)
    guard let file = try? Descriptor.open("/proc/self/oom_score_adj", .readWrite),
      let buffer = try? Buffer(capacity: 16),
      let count = try? file.read(into: buffer, 0..<16)
    else { return }
    let text = buffer.withBytes(0..<count) { bytes in
      String(decoding: bytes.indices.map { bytes[$0] }, as: UTF8.self)
    }
    let score = Int(text.split(whereSeparator: \.isNewline).first ?? "0") ?? 0
    // Where it is not allowed, the kernel may choose the other process; either can be spared.
    try? file.write(Array("\(min(score + 500, 1000))".utf8))
  }
}
