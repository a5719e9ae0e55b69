// SPDX-License-Identifier: Apache-2.0

import FilterIO
import FoundationEssentials
import SystemPackage

/// What QEMU says when it does not do what it is told.
struct QMPError: Error, Decodable, CustomStringConvertible {
  var desc: String
  var description: String { desc }
}

/// The connection ended while an answer was awaited.
struct QMPLost: Error {}

/// A connection to the QMP monitor of QEMU: commands one at a time, events to the mailbox.
///
/// One thread reads; whoever sends a command waits until that thread has its answer.
final class QMPClient: @unchecked Sendable {
  private struct Envelope: Decodable {
    var event: String?
    var id: Int?
    var error: QMPError?
  }

  private struct Event: Decodable {
    struct Details: Decodable { var reason: String? }
    var data: Details?
  }

  private struct Reply<Value: Decodable>: Decodable {
    var `return`: Value
  }

  /// An answer that is of no interest.
  struct Nothing: Decodable {}

  private let socket: Descriptor
  private let mailbox: Mailbox
  private let monitor = Monitor()
  private var answers: [Int: (error: QMPError?, line: Data)] = [:]
  private var lastID = 0
  private var isClosed = false

  /// Connects, waits for the greeting and leaves the negotiation mode.
  ///
  /// - Parameter patience: milliseconds to wait for the greeting. A monitor serves one client; the
  ///   kernel accepts a second one for it, which then hears nothing.
  /// - Throws: status 66.
  init(_ path: String, mailbox: Mailbox, patience: Int32) throws {
    self.mailbox = mailbox
    var lines: LineReader
    do {
      socket = try Descriptor.connect(to: FilePath(path))
      lines = try LineReader(socket)
      guard socket.isReadable(within: patience) else {
        throw Failure(
          .noInput, "\(path): no greeting; the monitor is busy with another client or is not QMP")
      }
    } catch let error as Errno {
      throw Failure(.noInput, path, error)
    }
    struct Greeting: Decodable {
      struct Content: Decodable {}
      var qmp: Content
      enum CodingKeys: String, CodingKey { case qmp = "QMP" }
    }
    guard let greeting = try? lines.next(),
      (try? JSONDecoder().decode(Greeting.self, from: greeting)) != nil
    else { throw Failure(.noInput, "\(path): is no QMP monitor") }
    _ = try Thread { [self, lines] in read(lines) }
    do {
      try execute("qmp_capabilities")
    } catch {
      throw Failure(.noInput, "\(path): \(Self.words(of: error))")
    }
  }

  /// Gives up the connection; the thread that reads it ends.
  func close() {
    socket.shutDown()
  }

  /// Who runs QEMU.
  var user: UInt32? { socket.peerUser }

  var isLost: Bool {
    monitor.lock()
    defer { monitor.unlock() }
    return isClosed
  }

  static func words(of error: any Error) -> String {
    switch error {
    case let error as QMPError: error.desc
    case is QMPLost: "QEMU closed the monitor"
    case let failure as Failure: failure.message
    default: "QEMU's answer was not understood"
    }
  }

  /// Sends a command and waits for its answer.
  ///
  /// - Throws: `QMPError` where QEMU refuses, `QMPLost` where the connection ends.
  func execute<Value: Decodable>(
    _ command: String, _ arguments: JSON? = nil, returning type: Value.Type
  ) throws -> Value {
    monitor.lock()
    lastID += 1
    let id = lastID
    monitor.unlock()
    var request: [String: JSON] = ["execute": .string(command), "id": .number(id)]
    request["arguments"] = arguments
    let line = try JSONEncoder().encode(JSON.object(request))
    do {
      try socket.write(Array(line) + [0x0a])
    } catch {
      throw QMPLost()
    }
    monitor.lock()
    defer { monitor.unlock() }
    while true {
      if let answer = answers.removeValue(forKey: id) {
        if let error = answer.error { throw error }
        return try JSONDecoder().decode(Reply<Value>.self, from: answer.line).return
      }
      if isClosed { throw QMPLost() }
      monitor.wait()
    }
  }

  func execute(_ command: String, _ arguments: JSON? = nil) throws {
    _ = try execute(command, arguments, returning: Nothing.self)
  }

  /// A command that QEMU may refuse.
  func attempt(_ command: String, _ arguments: JSON? = nil) throws {
    do { try execute(command, arguments) } catch is QMPError {}
  }

  private func read(_ start: LineReader) {
    var lines = start
    while let line = try? lines.next() {
      guard let envelope = try? JSONDecoder().decode(Envelope.self, from: line) else { break }
      if let event = envelope.event {
        if event == "JOB_STATUS_CHANGE" || event.hasPrefix("BLOCK_JOB_") {
          mailbox.post(.jobsChanged)
        } else if event == "SHUTDOWN" {
          // A guest that turns itself off may leave QEMU and its disks there.
          let details = try? JSONDecoder().decode(Event.self, from: line)
          if details?.data?.reason?.hasPrefix("host-") == true { mailbox.post(.shutdown) }
        }
      } else if let id = envelope.id {
        monitor.lock()
        answers[id] = (envelope.error, line)
        monitor.wakeAll()
        monitor.unlock()
      }
    }
    monitor.lock()
    isClosed = true
    monitor.wakeAll()
    monitor.unlock()
    mailbox.post(.connectionLost)
  }
}

/// The lines that come out of a socket.
private struct LineReader: Sendable {
  /// query-qmp-schema answers in one line of about 200 KB.
  private static let longestLine = 16 << 20

  private let socket: Descriptor
  private let buffer: Buffer
  private var bytes: [UInt8] = []
  private var searched = 0

  init(_ socket: Descriptor) throws {
    self.socket = socket
    buffer = try Buffer(capacity: 1 << 16)
  }

  /// - Returns: nil at the end.
  mutating func next() throws -> Data? {
    while true {
      if let end = bytes[searched...].firstIndex(of: 0x0a) {
        let line = Data(bytes[..<end])
        bytes.removeSubrange(...end)
        searched = 0
        return line
      }
      searched = bytes.count
      guard searched <= Self.longestLine else { throw QMPLost() }
      let count = try socket.read(into: buffer, 0..<buffer.capacity)
      if count == 0 { return nil }
      buffer.withBytes(0..<count) { new in
        for index in new.indices { bytes.append(new[index]) }
      }
    }
  }
}
