// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import Testing

/// The tools under test, in the folder of the running test binary.
enum Tool: String, CaseIterable, Sendable, CustomTestStringConvertible {
  case pack = "vma-pack"
  case unpack = "vma-unpack"
  case cat = "vma-cat"
  case toTar = "vma-to-tar"
  case tap = "vma-tap"

  var testDescription: String { rawValue }
  var path: String { Tool.directory + "/" + rawValue }

  /// The readers, which all open an archive in the same way.
  static let readers: [Tool] = [.unpack, .cat, .toTar]

  static let directory: String = {
    let link = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let binary = link ?? CommandLine.arguments.first ?? ""
    return URL(fileURLWithPath: binary).deletingLastPathComponent().path
  }()
}

/// How a process ended.
enum Ending: Equatable, Sendable, CustomTestStringConvertible {
  case exit(Int32)
  case signal(Int32)
  case outOfTime

  var testDescription: String {
    switch self {
    case .exit(let code): "exit \(code)"
    case .signal(let number): "signal \(number)"
    case .outOfTime: "out of time"
    }
  }
}

/// The result of a process: its exit status and all its output.
struct Outcome: Sendable, CustomReflectable {
  var command: String
  var ending: Ending
  var output: [UInt8]
  var errors: String

  /// Standard output as text.
  var text: String { String(decoding: output, as: UTF8.self) }
  /// Standard output as text, line by line.
  var lines: [String] { text.split(separator: "\n").map(String.init) }
  var errorLines: [String] {
    errors.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  /// Megabytes of output must not appear in a failure message.
  var customMirror: Mirror {
    Mirror(self, children: ["command": command, "ending": ending, "errors": errors])
  }
}

/// The standard input of a process.
enum Input: Sendable {
  case nothing
  case file(String)
  /// All of it through a pipe, which is then closed.
  case pipe([UInt8])
  /// Through a pipe that stays open until `closeInput`.
  case open
  case terminal
}

/// The standard output of a process.
enum Output: Sendable {
  case pipe
  case file(String)
  case append(String)
  case terminal
}

/// A process that is running.
final class Running {
  let command: String
  let id: pid_t
  private(set) var output: [UInt8] = []
  private(set) var errors: [UInt8] = []
  private var unsent: ArraySlice<UInt8> = []
  private var input: Int32 = -1
  private var closesWhenSent = false
  private var outputEnd: Int32 = -1
  private var errorEnd: Int32 = -1
  private var otherEnds: [Int32] = []
  private var isGone = false

  /// A child that exits must not end the tests through its broken pipe.
  private static let ignoresBrokenPipes: Bool = {
    Glibc.signal(SIGPIPE, SIG_IGN)
    return true
  }()

  /// One process is started at a time, so that no other one inherits an end of its pipes.
  private static let lock = NSLock()

  init(
    _ program: String, _ arguments: [String], in directory: String,
    environment: [String: String], input: Input = .nothing, output: Output = .pipe,
    errorsOnTerminal: Bool = false
  ) throws {
    precondition(Running.ignoresBrokenPipes)
    command = ([program] + arguments).joined(separator: " ")
    Running.lock.lock()
    defer { Running.lock.unlock() }
    var spawn = Spawn()
    defer { spawn.end() }

    switch input {
    case .nothing: spawn.open("/dev/null", as: 0, O_RDONLY)
    case .file(let path): spawn.open(path, as: 0, O_RDONLY)
    case .terminal: otherEnds.append(try spawn.openTerminal(as: 0))
    case .pipe, .open:
      let (reading, writing) = try Running.makePipe()
      spawn.give(reading, as: 0)
      self.input = writing
      _ = fcntl(writing, F_SETFL, O_NONBLOCK)
      if case .pipe(let bytes) = input {
        unsent = bytes[...]
        closesWhenSent = true
      }
    }
    switch output {
    case .pipe:
      let (reading, writing) = try Running.makePipe()
      spawn.give(writing, as: 1)
      outputEnd = reading
    case .file(let path): spawn.open(path, as: 1, O_WRONLY | O_CREAT | O_TRUNC)
    case .append(let path): spawn.open(path, as: 1, O_WRONLY | O_CREAT | O_APPEND)
    case .terminal: outputEnd = try spawn.openTerminal(as: 1)
    }
    if errorsOnTerminal {
      errorEnd = try spawn.openTerminal(as: 2)
    } else {
      let (reading, writing) = try Running.makePipe()
      spawn.give(writing, as: 2)
      errorEnd = reading
    }
    id = try spawn.start(["env", "-C", directory, program] + arguments, environment)
  }

  deinit {
    if !isGone {
      kill(-id, SIGKILL)
      waitpid(id, nil, 0)
    }
    closeInput()
    for end in [outputEnd, errorEnd] + otherEnds where end >= 0 { close(end) }
  }

  /// Queues more bytes for standard input.
  func send(_ bytes: some Sequence<UInt8>) { unsent.append(contentsOf: bytes) }

  func closeInput() {
    if input >= 0 { close(input) }
    input = -1
  }

  func signal(_ number: Int32) { kill(id, number) }

  /// Whether the process has read everything that was sent.
  var hasTakenAll: Bool {
    var waiting: Int32 = 0
    return unsent.isEmpty && input >= 0 && ioctl(input, UInt(FIONREAD), &waiting) == 0
      && waiting == 0
  }

  /// Sends input and reads output until the condition is met; false at the timeout.
  func wait(atMost seconds: Double = 30, until done: () -> Bool) -> Bool {
    let deadline = Date().addingTimeInterval(seconds)
    while !done() {
      guard Date() < deadline else { return false }
      _ = moveBytes()
    }
    return true
  }

  /// Sends input and reads output until the process exits; it is killed at the timeout.
  func finish(within seconds: Double = 120, closingInput: Bool = true) -> Outcome {
    let deadline = Date().addingTimeInterval(seconds)
    closesWhenSent = closesWhenSent || closingInput
    while moveBytes(), Date() < deadline {}
    var status: Int32 = 0
    defer { isGone = true }
    while waitpid(id, &status, WNOHANG) == 0 {
      if Date() >= deadline {
        kill(-id, SIGKILL)
        waitpid(id, &status, 0)
        return outcome(.outOfTime)
      }
      usleep(500)
    }
    let number = status & 0x7f
    return outcome(number == 0 ? .exit((status >> 8) & 0xff) : .signal(number))
  }

  private func outcome(_ ending: Ending) -> Outcome {
    Outcome(
      command: command, ending: ending, output: output,
      errors: String(decoding: errors, as: UTF8.self))
  }

  /// Waits once for input or output; false if both outputs have ended.
  private func moveBytes() -> Bool {
    if unsent.isEmpty && closesWhenSent { closeInput() }
    var polled = [
      pollfd(fd: outputEnd, events: Int16(POLLIN), revents: 0),
      pollfd(fd: errorEnd, events: Int16(POLLIN), revents: 0),
      pollfd(fd: unsent.isEmpty ? -1 : input, events: Int16(POLLOUT), revents: 0),
    ]
    if outputEnd < 0 && errorEnd < 0 { return false }
    poll(&polled, 3, 20)
    if polled[0].revents != 0 { take(from: &outputEnd, into: &output) }
    if polled[1].revents != 0 { take(from: &errorEnd, into: &errors) }
    if polled[2].revents != 0 {
      let count = unsent.withUnsafeBytes { write(input, $0.baseAddress, $0.count) }
      if count > 0 {
        unsent = unsent.dropFirst(count)
      } else if errno != EAGAIN {
        unsent = []
        closeInput()
      }
    }
    return true
  }

  private func take(from end: inout Int32, into bytes: inout [UInt8]) {
    let piece = [UInt8](unsafeUninitializedCapacity: 1 << 18) { buffer, count in
      count = max(0, read(end, buffer.baseAddress, buffer.count))
    }
    bytes += piece
    if piece.isEmpty {
      close(end)
      end = -1
    }
  }

  private static func makePipe() throws -> (reading: Int32, writing: Int32) {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw SystemFailure("pipe") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (ends[0], ends[1])
  }
}

/// A failed call of the test itself, which is not the tool's fault.
struct SystemFailure: Error, CustomStringConvertible {
  let description: String
  init(_ call: String) { description = "\(call): \(String(cString: strerror(errno)))" }
}

/// The child's descriptors and signals, until it is started.
private struct Spawn {
  private var actions = posix_spawn_file_actions_t()
  private var attributes = posix_spawnattr_t()
  private var given: [Int32] = []

  init() {
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    var defaults = sigset_t()
    for number in [SIGPIPE, SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGXFSZ] {
      sigaddset(&defaults, number)
    }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setpgroup(&attributes, 0)
    let flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP
    posix_spawnattr_setflags(&attributes, Int16(flags))
  }

  mutating func open(_ path: String, as number: Int32, _ flags: Int32) {
    posix_spawn_file_actions_addopen(&actions, number, path, flags, 0o666)
  }

  mutating func give(_ descriptor: Int32, as number: Int32) {
    posix_spawn_file_actions_adddup2(&actions, descriptor, number)
    given.append(descriptor)
  }

  /// Gives the child a terminal; the returned descriptor reads its output.
  mutating func openTerminal(as number: Int32) throws -> Int32 {
    let terminal = Glibc.open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
    let (unlock, getNumber) = (UInt(0x4004_5431), UInt(0x8004_5430))
    var (locked, name): (Int32, Int32) = (0, 0)
    guard terminal >= 0, ioctl(terminal, unlock, &locked) == 0,
      ioctl(terminal, getNumber, &name) == 0
    else { throw SystemFailure("cannot make a terminal") }
    posix_spawn_file_actions_addopen(
      &actions, number, "/dev/pts/\(name)", O_RDWR | O_NOCTTY, 0)
    return terminal
  }

  mutating func start(_ words: [String], _ environment: [String: String]) throws -> pid_t {
    var argv = words.map { strdup($0) } + [nil]
    var envp = environment.map { strdup("\($0)=\($1)") } + [nil]
    defer { for word in argv + envp { free(word) } }
    var id: pid_t = 0
    let code = posix_spawnp(&id, words[0], &actions, &attributes, &argv, &envp)
    guard code == 0 else {
      errno = code
      throw SystemFailure("cannot run \(words)")
    }
    return id
  }

  mutating func end() {
    for descriptor in given { close(descriptor) }
    posix_spawn_file_actions_destroy(&actions)
    posix_spawnattr_destroy(&attributes)
  }
}
