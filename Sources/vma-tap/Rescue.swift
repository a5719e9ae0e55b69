// SPDX-License-Identifier: Apache-2.0

import System
import SystemPackage

/// Ends in QEMU what a dead worker started, without ever waiting: the same thread acknowledges
/// QEMU's writes meanwhile.
struct Rescue {
  private enum State {
    case unconnected
    case greeting
    case asked(id: Int)
    /// Until the next step.
    case idle
  }

  /// Seconds that QEMU has to answer a command, or for the greeting once another client has
  /// disconnected.
  private static let limit = 30.0

  private let buffer: Buffer
  private let path: FilePath
  private let jobs: [String]
  private let nodes: [String]
  private var removal: Removal
  private var channel: QMPChannel?
  private var state = State.unconnected
  private var lastID = 0
  private var nextTime: Double
  private var canCancel = false
  private(set) var isDone = false
  /// Whether no process listens at the monitor.
  private(set) var isRefused = false

  var socket: Descriptor? { channel?.socket }
  /// Seconds until there is something to do.
  var delay: Double { max(0, nextTime - Host.uptime) }

  /// - Parameter buffer: for data of the monitor; there may not be enough memory for another one.
  init(_ path: String, jobs: [String], nodes: [String], buffer: Buffer) {
    self.buffer = buffer
    self.path = FilePath(path)
    self.jobs = jobs
    self.nodes = nodes
    removal = Removal(jobs: jobs, nodes: nodes)
    nextTime = Host.uptime
  }

  /// Does what is possible now.
  ///
  /// - Parameter canCancel: whether a command may be sent; otherwise this is tried again soon.
  mutating func step(canCancel: Bool) {
    self.canCancel = canCancel
    do {
      if case .unconnected = state { return try connect() }
      guard var channel else { return }
      if channel.socket.isReadable() {
        var messages: [QMPMessage] = []
        try channel.receive { messages.append($0) }
        self.channel = channel
        for message in messages { try take(message) }
      }
      guard Host.uptime >= nextTime else { return }
      switch state {
      case .idle: try advance()
      case .asked: throw QMPLost(description: "no answer")
      // Another client may use the monitor; we continue when it disconnects.
      case .greeting, .unconnected: nextTime = Host.uptime + Self.limit
      }
    } catch {
      channel = nil
      state = .unconnected
      removal = Removal(jobs: jobs, nodes: nodes)
      nextTime = Host.uptime + 0.2
    }
  }

  private mutating func connect() throws {
    guard Host.uptime >= nextTime else { return }
    do {
      isRefused = false
      channel = try QMPChannel(path, milliseconds: 0, buffer: buffer)
      state = .greeting
      nextTime = Host.uptime + Self.limit
    } catch let error as Errno {
      isRefused = error == .connectionRefused || error == .noSuchFileOrDirectory
      throw error
    }
  }

  private mutating func take(_ message: QMPMessage) throws {
    switch (state, message.kind) {
    case (.greeting, .greeting): try ask("qmp_capabilities", nil)
    case (.asked(let id), .answer(let answered, let error)) where id == answered:
      // The first answer belongs to the negotiation.
      if id > 1 { try removal.receive(error.map { .failure($0) } ?? .success(message.data)) }
      try advance()
    default: break
    }
  }

  private mutating func advance() throws {
    guard canCancel else {
      state = .idle
      nextTime = Host.uptime + 0.02
      return
    }
    switch removal.next() {
    case .execute(let command, let arguments): try ask(command, arguments)
    case .wait(let milliseconds):
      state = .idle
      nextTime = Host.uptime + Double(milliseconds) / 1000
    case .done:
      channel = nil
      isDone = true
    }
  }

  private mutating func ask(_ command: String, _ arguments: JSON?) throws {
    lastID = if case .greeting = state { 1 } else { lastID + 1 }
    try channel?.send(QMPChannel.command(command, arguments, id: lastID), until: Host.uptime)
    state = .asked(id: lastID)
    nextTime = Host.uptime + Self.limit
  }
}
