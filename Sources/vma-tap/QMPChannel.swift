// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
import System
import SystemPackage

/// The error that QEMU returns for a command.
package struct QMPError: Error, Decodable, CustomStringConvertible {
  var kind: String?
  var desc: String
  package var description: String { desc }
  var isUnknownCommand: Bool { kind == "CommandNotFound" }

  enum CodingKeys: String, CodingKey {
    case kind = "class"
    case desc
  }
}

/// The connection to the monitor cannot be used any more.
package struct QMPLost: Error, CustomStringConvertible {
  package var description: String
}

/// What a command returned.
package struct QMPReply<Value: Decodable>: Decodable {
  var `return`: Value
}

extension QMPReply {
  package static func value(of answer: Data, _ type: Value.Type) throws -> Value {
    do {
      return try JSONDecoder().decode(QMPReply.self, from: answer).return
    } catch is DecodingError {
      throw QMPLost(description: "QEMU sent an unexpected answer")
    }
  }
}

/// A message of the monitor.
package struct QMPMessage {
  package enum Kind {
    case greeting
    case event(String, reason: String?)
    /// - Parameter id: nil if the answer is not to a command of ours.
    case answer(id: Int?, QMPError?)
  }

  private struct Envelope: Decodable {
    struct Greeting: Decodable {}
    struct Details: Decodable { var reason: String? }
    /// The ID of a command, of any type; ours are numbers.
    enum ID: Decodable {
      case number(Int)
      case other
      init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        // An Int that does not fit would make the entire message invalid.
        do {
          self = Int(exactly: try value.decode(Double.self)).map { .number($0) } ?? .other
        } catch is DecodingError {
          self = .other
        }
      }
      var number: Int? { if case .number(let value) = self { value } else { nil } }
    }

    var greeting: Greeting?
    var event: String?
    var data: Details?
    var id: ID?
    var error: QMPError?

    enum CodingKeys: String, CodingKey {
      case greeting = "QMP"
      case event, data, id, error
    }
  }

  package var kind: Kind
  /// The entire message.
  package var data: Data

  /// - Throws: `QMPLost` if it is not one.
  package init(_ data: Data) throws {
    self.data = data
    do {
      let envelope = try JSONDecoder().decode(Envelope.self, from: data)
      kind =
        if envelope.greeting != nil {
          .greeting
        } else if let event = envelope.event {
          .event(event, reason: envelope.data?.reason)
        } else {
          .answer(id: envelope.id?.number, envelope.error)
        }
    } catch is DecodingError {
      throw QMPLost(description: "the monitor sent invalid QMP")
    }
  }
}

/// A connection to a QMP monitor that never waits, for one thread.
package struct QMPChannel {
  private static let chunk = 1 << 16

  let socket: Descriptor
  private let buffer: Buffer
  private var splitter = JSONSplitter()

  /// - Parameters:
  ///   - milliseconds: how long to wait if the monitor has a queue of clients.
  ///   - buffer: used only while something is received; nil to allocate one.
  init(_ path: FilePath, milliseconds: Int, buffer: Buffer? = nil) throws {
    self.buffer = try buffer ?? Buffer(capacity: Self.chunk)
    socket = try Descriptor.connect(to: path, milliseconds: milliseconds)
  }

  /// Reads once, and passes on the messages that are then complete.
  ///
  /// - Throws: `QMPLost` at the end, and for anything that is not QMP, after the messages before
  ///   it.
  mutating func receive(_ take: (QMPMessage) throws -> Void) throws {
    guard let count = try read() else { return }
    guard count > 0 else { throw QMPLost(description: "QEMU closed the monitor") }
    buffer.withBytes(0..<count) { splitter.append($0) }
    while let value = try splitter.next() { try take(QMPMessage(value)) }
  }

  private func read() throws -> Int? {
    do {
      return try socket.readNow(into: buffer, 0..<buffer.capacity)
    } catch {
      throw QMPLost(description: "the monitor: \(error)")
    }
  }

  /// The bytes of a command.
  package static func command(_ name: String, _ arguments: JSON?, id: Int) throws -> [UInt8] {
    var request: [String: JSON] = ["execute": .string(name), "id": .number(id)]
    request["arguments"] = arguments
    return try Array(JSONEncoder().encode(JSON.object(request))) + [0x0a]
  }

  /// Sends a command.
  ///
  /// - Parameter uptime: the deadline for a monitor that does not accept commands.
  func send(_ bytes: [UInt8], until uptime: Double) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      do {
        if let count = try socket.writeNow(rest) {
          rest = rest.dropFirst(count)
          continue
        }
      } catch {
        throw QMPLost(description: "the monitor: \(error)")
      }
      guard Host.uptime < uptime else {
        throw QMPLost(description: "the monitor accepts no commands")
      }
      Host.sleep(milliseconds: 10)
    }
  }
}

/// Finds JSON objects in bytes, possibly over several lines, as with `pretty=on` in QEMU.
package struct JSONSplitter {
  /// The longest objects that QEMU sends are its schema, of about 200 KB, and the list of its
  /// nodes.
  static let limit = 64 << 20
  /// The limit of the decoder.
  private static let deepest = 500

  private var bytes: [UInt8] = []
  /// Where the next object begins.
  private var start = 0
  /// Bytes already examined.
  private var scanned = 0
  private var depth = 0
  private var isInString = false
  private var isEscaped = false

  package init() {}

  package mutating func append(_ new: Span<UInt8>) {
    bytes.removeSubrange(..<start)
    scanned -= start
    start = 0
    bytes.reserveCapacity(bytes.count + new.count)
    for index in new.indices { bytes.append(new[index]) }
  }

  /// The next complete object.
  ///
  /// - Throws: `QMPLost` if other data arrives, or no end within the limit.
  package mutating func next() throws -> Data? {
    while scanned < bytes.count {
      let byte = bytes[scanned]
      scanned += 1
      if isInString {
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isInString = false
        }
        continue
      }
      switch byte {
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        guard depth > 0 || byte == UInt8(ascii: "{"), depth < Self.deepest else {
          throw Self.nonsense
        }
        depth += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        guard depth > 0 else { throw Self.nonsense }
        depth -= 1
        if depth == 0 {
          defer { start = scanned }
          return Data(bytes[start..<scanned])
        }
      case UInt8(ascii: "\""):
        guard depth > 0 else { throw Self.nonsense }
        isInString = true
      case 0x20, 0x09, 0x0a, 0x0d:
        if depth == 0 { start = scanned }
      default: guard depth > 0 else { throw Self.nonsense }
      }
    }
    guard bytes.count - start <= Self.limit else {
      throw QMPLost(
        description: "the monitor sent a message larger than \(ByteCount(UInt64(Self.limit)))")
    }
    return nil
  }

  private static let nonsense = QMPLost(description: "the monitor sent invalid QMP")
}
