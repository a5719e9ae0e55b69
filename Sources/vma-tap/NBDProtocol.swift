// SPDX-License-Identifier: Apache-2.0

import VMA

/// What the server offers: a writable disk.
package struct NBDExport: Sendable {
  var name: String
  var size: UInt64
}

/// The client violates the protocol.
struct NBDViolation: Error {}

/// The server side of the handshake of the NBD protocol ("fixed newstyle"), without any I/O of its
/// own.
///
/// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
struct NBDHandshake {
  private enum Magic {
    static let server: UInt64 = 0x4e42_444d_4147_4943  // "NBDMAGIC"
    static let option: UInt64 = 0x4948_4156_454f_5054  // "IHAVEOPT"
    static let optionReply: UInt64 = 0x3_e889_0455_65a9
  }

  private enum Option {
    static let exportName: UInt32 = 1
    static let abort: UInt32 = 2
    static let list: UInt32 = 3
    static let info: UInt32 = 6
    static let go: UInt32 = 7
  }

  private enum OptionReply {
    static let acknowledge: UInt32 = 1
    static let server: UInt32 = 2
    static let info: UInt32 = 3
    static let unsupported: UInt32 = 0x8000_0001
    static let invalid: UInt32 = 0x8000_0003
    static let unknown: UInt32 = 0x8000_0006
  }

  private enum Part {
    case flags
    case option
    case data(option: UInt32)
  }

  /// Flags are present; flush, force unit access and write-zeroes are supported.
  private static let transmissionFlags: UInt16 = 1 | 4 | 8 | 0x40

  private let exports: [NBDExport]
  private var part = Part.flags
  private var sendsPadding = true
  private var output = bigEndian(Magic.server) + bigEndian(Magic.option) + bigEndian(UInt16(3))
  /// How many bytes `receive` expects next.
  private(set) var needed = 4
  /// The index of the export that the client chose; the handshake is then complete.
  private(set) var chosen: Int?
  /// Whether the client ended the handshake without choosing one.
  private(set) var isAborted = false

  init(_ exports: [NBDExport]) {
    self.exports = exports
  }

  /// Bytes to be sent now.
  mutating func takeOutput() -> [UInt8] {
    defer { output = [] }
    return output
  }

  mutating func receive(_ bytes: [UInt8]) throws {
    switch part {
    case .flags:
      let flags = integer(bytes, as: UInt32.self)
      guard flags & 1 == 1 else { throw NBDViolation() }
      sendsPadding = flags & 2 == 0
      (part, needed) = (.option, 16)
    case .option:
      let size = integer(bytes[12...], as: UInt32.self)
      guard integer(bytes[..<8], as: UInt64.self) == Magic.option, size <= 8192 else {
        throw NBDViolation()
      }
      (part, needed) = (.data(option: integer(bytes[8..<12], as: UInt32.self)), Int(size))
    case .data(let option):
      try take(option, bytes)
      (part, needed) = (.option, 16)
    }
  }

  private mutating func take(_ option: UInt32, _ data: [UInt8]) throws {
    switch option {
    case Option.exportName:
      guard let place = place(of: data[...]) else { throw NBDViolation() }
      output +=
        bigEndian(exports[place].size) + bigEndian(Self.transmissionFlags)
        + [UInt8](repeating: 0, count: sendsPadding ? 124 : 0)
      chosen = place
    case Option.abort:
      answer(option, OptionReply.acknowledge)
      isAborted = true
    case Option.list:
      for export in exports {
        let name = Array(export.name.utf8)
        answer(option, OptionReply.server, bigEndian(UInt32(name.count)) + name)
      }
      answer(option, OptionReply.acknowledge)
    case Option.info, Option.go:
      // A name after its length; then the information that the client requests, which is optional.
      let length = data.count < 4 ? .max : Int(integer(data[..<4], as: UInt32.self))
      guard data.count >= 6, length <= data.count - 6 else {
        return answer(option, OptionReply.invalid)
      }
      guard let place = place(of: data[4..<4 + length]) else {
        return answer(option, OptionReply.unknown)
      }
      answer(
        option, OptionReply.info,
        bigEndian(UInt16(0)) + bigEndian(exports[place].size) + bigEndian(Self.transmissionFlags))
      answer(option, OptionReply.acknowledge)
      if option == Option.go { chosen = place }
    default:
      answer(option, OptionReply.unsupported)
    }
  }

  private func place(of name: ArraySlice<UInt8>) -> Int? {
    exports.firstIndex { $0.name.utf8.elementsEqual(name) }
  }

  private mutating func answer(_ option: UInt32, _ kind: UInt32, _ data: [UInt8] = []) {
    output +=
      bigEndian(Magic.optionReply) + bigEndian(option) + bigEndian(kind)
      + bigEndian(UInt32(data.count)) + data
  }
}

/// The header of a request.
struct NBDRequest {
  enum Command {
    case write, disconnect, flush, writeZeroes, other
  }

  static let size = 28
  private static let magic: UInt32 = 0x2560_9513
  private static let replyMagic: UInt32 = 0x6744_6698
  /// The maximum size of a request, as the protocol recommends.
  private static let maximumPayload: UInt64 = 32 << 20

  var command: Command
  var handle: UInt64
  var offset: UInt64
  var length: UInt64

  init(_ bytes: Span<UInt8>) throws {
    guard bytes.load(0, as: UInt32.self) == Self.magic else { throw NBDViolation() }
    command =
      switch bytes.load(6, as: UInt16.self) {
      case 1: .write
      case 2: .disconnect
      case 3: .flush
      case 6: .writeZeroes
      default: .other
      }
    handle = bytes.load(8, as: UInt64.self)
    offset = bytes.load(16, as: UInt64.self)
    length = UInt64(bytes.load(24, as: UInt32.self))
    guard command != .write || length <= Self.maximumPayload else { throw NBDViolation() }
  }

  /// The answer to it: success, unless the command is not supported.
  var reply: [UInt8] {
    let invalid: UInt32 = 22
    return bigEndian(Self.replyMagic) + bigEndian(command == .other ? invalid : 0)
      + bigEndian(handle)
  }
}

private func integer<Value: FixedWidthInteger & UnsignedInteger>(
  _ bytes: some Sequence<UInt8>, as: Value.Type
) -> Value {
  bytes.reduce(0) { $0 << 8 | Value($1) }
}

private func bigEndian(_ value: some FixedWidthInteger & UnsignedInteger) -> [UInt8] {
  stride(from: value.bitWidth - 8, through: 0, by: -8).map {
    UInt8(truncatingIfNeeded: value >> $0)
  }
}
