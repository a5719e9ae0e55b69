// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
public import SystemPackage

/// A program that runs beside us and is talked to through pipes.
@safe public final class ChildProgram: @unchecked Sendable {
  /// Where its standard input is written to; nil once it was closed.
  public private(set) var input: Descriptor?
  public let output: Descriptor
  private let messages: Descriptor
  private let message: Buffer
  private var process = pid_t()

  /// Starts a program, found by `PATH`.
  public init(_ arguments: [String], name: String) throws(Errno) {
    do { message = try Buffer(capacity: 4096) } catch { throw .noMemory }
    let toChild = try Self.pipe(name)
    let fromChild = try Self.pipe(name)
    let errors = try Self.pipe(name)
    input = toChild.writing
    output = fromChild.reading
    messages = errors.reading

    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_adddup2(&actions, toChild.reading.raw, 0)
    unsafe posix_spawn_file_actions_adddup2(&actions, fromChild.writing.raw, 1)
    unsafe posix_spawn_file_actions_adddup2(&actions, errors.writing.raw, 2)
    // The signals that we block are not blocked for it.
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))

    var words: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
    defer { unsafe words.forEach { unsafe free($0) } }
    defer { withExtendedLifetime((toChild, fromChild, errors)) {} }
    try SystemCall.posixSpawn.retry {
      errno = unsafe posix_spawnp(
        &process, arguments[0], &actions, &attributes, &words, linux_environment())
      return errno == 0 ? 0 : -1
    }
  }

  private static func pipe(
    _ name: String
  ) throws(Errno) -> (reading: Descriptor, writing: Descriptor) {
    var ends: [Int32] = [-1, -1]
    try SystemCall.pipe.retry { unsafe linux_pipe(&ends) }
    return (Descriptor(raw: ends[0], name: name), Descriptor(raw: ends[1], name: name))
  }

  public func closeInput() { input = nil }

  /// Waits for its end.
  ///
  /// - Returns: nil where it ended well, otherwise what it said, or how it ended.
  public func wait() -> String? {
    let count = (try? messages.read(into: message, 0..<message.capacity)) ?? 0
    var status: Int32 = 0
    _ = try? SystemCall.waitpid.retry { unsafe waitpid(process, &status, 0) }
    guard status != 0 else { return nil }
    let text = message.withBytes(0..<count) { bytes in
      String(decoding: bytes.indices.map { bytes[$0] }, as: UTF8.self)
    }
    let line = text.split(whereSeparator: \.isNewline).first.map(String.init)
    return line ?? "ended with status \(status >> 8 & 0xff)"
  }
}
