// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import System
import SystemPackage

/// A connection to the QMP monitor of QEMU: commands one at a time, events to the mailbox.
///
/// One thread reads; a command waits until that thread receives its answer, but never longer than a
/// limit. When the thread ends, for any reason, it closes the connection: a monitor serves only one
/// client, and a client that does not read must not occupy it.
final class QMPClient: @unchecked Sendable {
  /// For answers that are ignored.
  struct Nothing: Decodable {}

  /// Seconds that QEMU has to answer a command.
  static let limit = 30.0
  /// The limit while the run is ending.
  private static let shortLimit = 5.0

  private let channel: QMPChannel
  private let mailbox: Mailbox
  private let monitor = Monitor()
  private var lastID = 0
  private var answer: (error: QMPError?, data: Data)?
  /// Why the connection was lost.
  private var lost: QMPLost?

  /// Connects, waits for the greeting and leaves the negotiation mode.
  ///
  /// - Parameter seconds: the limit for all of that. A monitor serves one client; the kernel
  ///   accepts others, but they receive nothing.
  /// - Throws: status 66.
  init(_ path: String, mailbox: Mailbox, within seconds: Double) throws {
    self.mailbox = mailbox
    let end = Host.uptime + seconds
    do {
      var channel: QMPChannel
      do {
        channel = try QMPChannel(FilePath(path), milliseconds: Int(seconds * 1000))
      } catch Errno.resourceTemporarilyUnavailable {
        throw QMPLost(description: "other clients are waiting for the monitor")
      }
      try Self.waitForGreeting(&channel, until: end)
      self.channel = channel
    } catch let error as Errno {
      throw Failure(.noInput, path, error)
    } catch {
      throw error as? Failure ?? Failure(.noInput, "\(path): \(Self.words(of: error))")
    }
    do {
      _ = try Thread { [self] in read(channel) }
      try execute("qmp_capabilities", until: end)
    } catch {
      close()
      throw error as? Failure ?? Failure(.noInput, "\(path): \(Self.words(of: error))")
    }
  }

  private static func waitForGreeting(_ channel: inout QMPChannel, until end: Double) throws {
    while true {
      let rest = end - Host.uptime
      guard rest > 0, channel.socket.isReadable(within: Int32(rest * 1000) + 1) else {
        throw QMPLost(
          description: "no greeting (the monitor serves another client, or is not QMP)")
      }
      var hasGreeted = false
      do {
        try channel.receive { message in
          guard case .greeting = message.kind else { return }
          hasGreeted = true
        }
      } catch is QMPLost {
        throw QMPLost(description: "is not a QMP monitor")
      }
      if hasGreeted { return }
    }
  }

  /// Closes the connection; the thread that reads it ends.
  func close() {
    channel.socket.shutDown()
  }

  /// The user that runs QEMU.
  var user: UInt32? { channel.socket.peerUser }

  var isLost: Bool {
    monitor.withLock { lost != nil }
  }

  static func words(of error: any Error) -> String {
    switch error {
    case let error as QMPError: error.desc
    case let error as QMPLost: error.description
    case let failure as Failure: failure.message
    default: "\(error)"
    }
  }

  /// Sends a command and waits for its answer.
  ///
  /// - Throws: `QMPError` if QEMU refuses, `QMPLost` if the connection is lost or times out.
  func execute<Value: Decodable>(
    _ command: String, _ arguments: JSON? = nil, returning type: Value.Type
  ) throws -> Value {
    try QMPReply.value(of: answer(to: command, arguments).get(), type)
  }

  func execute(_ command: String, _ arguments: JSON? = nil) throws {
    _ = try execute(command, arguments, returning: Nothing.self)
  }

  private func execute(_ command: String, until end: Double) throws {
    _ = try answer(to: command, until: end).get()
  }

  /// Sends a command and waits for its answer, which may be an error.
  func answer(
    to command: String, _ arguments: JSON? = nil, until end: Double? = nil
  ) throws -> Result<Data, QMPError> {
    let start = Host.uptime
    let id = monitor.withLock {
      lastID += 1
      answer = nil
      return lastID
    }
    let bytes = try QMPChannel.command(command, arguments, id: id)
    try channel.send(bytes, until: end ?? start + Self.shortLimit)
    return try monitor.withLock {
      while true {
        if let answer { return answer.error.map(Result.failure) ?? .success(answer.data) }
        if let lost { throw lost }
        let end = end ?? start + (mailbox.isHurried ? Self.shortLimit : Self.limit)
        guard Host.uptime < end else {
          close()
          throw QMPLost(
            description:
              "QEMU did not answer \(command) within \(Int((end - start).rounded())) seconds")
        }
        // The run may begin to end meanwhile.
        monitor.wait(until: min(end, Host.uptime + 0.25))
      }
    }
  }

  private func read(_ start: QMPChannel) {
    var channel = start
    var reason: QMPLost
    do {
      while true {
        channel.socket.waitUntilReadable()
        try channel.receive { take($0) }
      }
    } catch {
      reason = error as? QMPLost ?? QMPLost(description: Self.words(of: error))
    }
    abandon(reason)
    mailbox.post(.connectionLost)
  }

  /// Closes the connection, and wakes any thread that waits for an answer.
  func abandon(_ reason: QMPLost) {
    close()
    monitor.withLock {
      if lost == nil { lost = reason }
      monitor.wakeAll()
    }
  }

  private func take(_ message: QMPMessage) {
    switch message.kind {
    case .greeting: break
    case .event(let name, let reason):
      if name == "JOB_STATUS_CHANGE" || name.hasPrefix("BLOCK_JOB_") {
        mailbox.post(.jobsChanged)
      } else if name == "STOP" {
        mailbox.post(.guestStopped)
      } else if name == "SHUTDOWN", reason?.hasPrefix("host-") == true {
        // A guest that shuts itself down may leave QEMU and its disks running.
        mailbox.post(.shutdown)
      }
    case .answer(let id, let error):
      monitor.withLock {
        // Any other answer was not requested, or is too late.
        guard id == lastID, answer == nil else { return }
        answer = (error, message.data)
        monitor.wakeAll()
      }
    }
  }
}
