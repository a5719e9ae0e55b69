// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import TestSupport
import Testing

/// A program that serves NBD from a scratch directory, until it is released.
final class Server {
  /// The first export, for tools that run in that directory.
  let uri: String
  let running: Running

  /// Starts a program and waits until it listens, which its pid file shows.
  private init(
    _ dir: Scratch, _ program: String, _ arguments: [String], pidFile: String, uri: String,
    input: Input = .nothing, sourceLocation: SourceLocation
  ) throws {
    let path = QEMU.current.path(
      before: ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")
    running = try Running(
      program, arguments, in: dir.path, environment: ["PATH": path + ":/usr/sbin:/sbin"],
      input: input)
    self.uri = uri
    let running = running
    let isReady = running.wait(atMost: 20) {
      (dir.status(of: pidFile)?.st_size ?? 0) > 0 || running.hasEnded
    }
    guard isReady, dir.exists(pidFile) else {
      let said = String(decoding: running.errors, as: UTF8.self)
      Issue.record("\(running.command) does not start: \(said)", sourceLocation: sourceLocation)
      throw SystemFailure(program)
    }
  }

  /// - Parameter name: of the socket, different for each server of a test.
  static func nbdkit(
    _ dir: Scratch, _ arguments: String..., name: String = "s",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Server {
    try nbdkit(dir, arguments: arguments, name: name, sourceLocation: sourceLocation)
  }

  static func nbdkit(
    _ dir: Scratch, arguments: [String], name: String = "s",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Server {
    try Server(
      dir, "nbdkit", ["-f", "-U", name, "-P", "\(name).pid"] + arguments, pidFile: "\(name).pid",
      uri: "nbd+unix:///?socket=\(name)", sourceLocation: sourceLocation)
  }

  /// On the loopback network interface.
  static func nbdkit(
    _ dir: Scratch, port: UInt16, _ arguments: String...,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Server {
    try Server(
      dir, "nbdkit", ["-f", "-i", "127.0.0.1", "-p", "\(port)", "-P", "tcp.pid"] + arguments,
      pidFile: "tcp.pid", uri: "nbd://127.0.0.1:\(port)", sourceLocation: sourceLocation)
  }

  /// Accepts one client, and exits when that disconnects.
  static func qemuNBD(
    _ dir: Scratch, _ arguments: String..., name: String = "s",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Server {
    try Server(
      dir, "qemu-nbd", ["-k", dir(name), "--pid-file", dir("\(name).pid")] + arguments,
      pidFile: "\(name).pid", uri: "nbd+unix:///?socket=\(name)", sourceLocation: sourceLocation)
  }

  /// With QMP on its standard input and output, and NBD on the socket `q`.
  static func storageDaemon(
    _ dir: Scratch, _ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Server {
    try Server(
      dir, "qemu-storage-daemon",
      [
        "--pidfile", "q.pid", "--chardev", "stdio,id=m", "--monitor", "chardev=m",
        "--nbd-server", "addr.type=unix,addr.path=q,max-connections=0",
      ] + arguments, pidFile: "q.pid", uri: "nbd+unix:///a?socket=q", input: .open,
      sourceLocation: sourceLocation)
  }

  /// Executes QMP commands; each must succeed.
  func qmp(_ commands: String..., sourceLocation: SourceLocation = #_sourceLocation) {
    for command in commands {
      let before = replies
      running.send(Array((command + "\n").utf8))
      let running = running
      let isAnswered = running.wait { [unowned self] in replies > before }
      let text = String(decoding: running.output, as: UTF8.self)
      if !isAnswered || text.contains("\"error\": {") {
        Issue.record("\(command): \(text.suffix(500))", sourceLocation: sourceLocation)
      }
    }
  }

  private var replies: Int {
    String(decoding: running.output, as: UTF8.self).split(whereSeparator: \.isNewline)
      .count { $0.hasPrefix("{\"return\"") || $0.hasPrefix("{\"error\"") }
  }

  /// Terminates it, and waits until it has exited.
  @discardableResult
  func stop() -> Outcome {
    running.signal(SIGTERM)
    return running.finish(within: 20)
  }

  /// Waits until it exits.
  @discardableResult
  func end() -> Outcome { running.finish(within: 20) }

  func kill() { running.signal(SIGKILL) }
}

extension Running {
  /// Checked without waiting for it, which `finish` will do.
  var hasEnded: Bool {
    var info = siginfo_t()
    waitid(P_PID, id_t(id), &info, WEXITED | WNOHANG | WNOWAIT)
    return info.si_signo == SIGCHLD
  }
}

/// A port that is not in use now.
func freePort() throws -> UInt16 {
  let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(listener) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let isBound = withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(listener, $0, length) == 0 && getsockname(listener, $0, &length) == 0
    }
  }
  guard isBound else { throw SystemFailure("bind") }
  return UInt16(bigEndian: address.sin_port)
}

/// Options that make the bytes of an archive depend only on its disks.
let fixed = ["--uuid", "0f684264-bd53-4ae5-989c-eeee86ce2eb9", "--ctime", "1795414055"]

extension Scratch {
  /// Packs and returns the archive's bytes.
  func packed(
    _ sources: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> [UInt8] {
    try run(.pack, fixed + sources, sourceLocation: sourceLocation)
      .succeeds(sourceLocation: sourceLocation).output
  }

  /// Runs vma-pack to standard output and with `-o`; both must fail and create no archive.
  ///
  /// - Parameter sources: of one run; called for each.
  func expectNoArchive(
    _ code: Int32, saying word: String, sourceLocation: SourceLocation = #_sourceLocation,
    from sources: () throws -> [String]
  ) throws {
    try run(.pack, ["-o", "failed.vma"] + sources(), sourceLocation: sourceLocation)
      .fails(code, .pack, saying: word, sourceLocation: sourceLocation)
    #expect(!exists("failed.vma"), sourceLocation: sourceLocation)
    let aborted = try run(.pack, sources(), sourceLocation: sourceLocation)
      .fails(code, .pack, saying: word, silent: false, sourceLocation: sourceLocation)
    try run(.unpack, "-t", input: .pipe(aborted.output), sourceLocation: sourceLocation)
      .fails(65, .unpack, sourceLocation: sourceLocation)
  }
}
