// SPDX-License-Identifier: Apache-2.0

/// What is wrong with a stream of changed blocks.
package enum StreamFault: Error, Hashable, Sendable, CustomStringConvertible {
  case torn
  case magic
  case unknownKind(UInt8)
  case unknownFlags(UInt16)
  case payload(UInt32)
  case sequence(expected: UInt32, found: UInt32)
  case outOfPlace(Record.Kind)
  case unknownDevice(UInt8)
  case deviceNumber(UInt8)
  case deviceTwice(UInt8)
  case nameTwice([UInt8])
  case name
  case config
  case tooManyConfigs
  case size(UInt64)
  case time(UInt64)
  case field(Record.Kind)
  case range(offset: UInt64, length: UInt64)
  case finished(UInt8)
  case notFinished(UInt8)
  case count(expected: UInt64, found: UInt64)
  case behindEnd
  case cannotHold(UInt8)
  case aborted([UInt8])
  case gap(name: [UInt8], byte: UInt64)

  package var description: String {
    switch self {
    case .torn: "the stream is truncated"
    case .magic: "record expected, other data found"
    case .unknownKind(let kind): "unknown type \(kind)"
    case .unknownFlags(let flags): "unknown flags \(flags)"
    case .payload(let size): "payload size \(size) is not valid"
    case .sequence(let expected, let found): "sequence number \(found), \(expected) expected"
    case .outOfPlace(let kind): "record '\(kind.letter)' is not allowed here"
    case .unknownDevice(let id): "device \(id) was not declared"
    case .deviceNumber(let id): "device number \(id) is not valid"
    case .deviceTwice(let id): "device \(id) is declared twice"
    case .nameTwice(let name): "duplicate name \(quoted(name))"
    case .name: "invalid name"
    case .config: "invalid configuration file"
    case .tooManyConfigs: "more than \(StreamFormat.maximumConfigCount) configuration files"
    case .size(let size): "a device cannot have \(size) bytes"
    case .time(let seconds): "time \(seconds) in 'B' is not valid"
    case .field(let kind): "'\(kind.letter)' has a field that must be zero, or a wrong length"
    case .range(let offset, let length): "invalid range of \(length) bytes at \(offset)"
    case .finished(let id): "device \(id) is already finished"
    case .notFinished(let id): "device \(id) is not finished"
    case .count(let expected, let found): "record count \(found), \(expected) expected"
    case .behindEnd: "data after the end of the stream"
    case .cannotHold(let id):
      "write to device \(id) announced, but the device has no source with --ack-fd"
    case .aborted(let reason): "aborted by the producer: \(quoted(reason))"
    case .gap(let name, let byte):
      "\(quoted(name)) is finished, but byte \(byte) was not sent"
    }
  }
}

/// The start of a text from the stream, for a message. Control characters appear as `\xNN`, so each
/// takes four bytes.
private func quoted(_ text: [UInt8]) -> String {
  var room = 300
  let shown = text.prefix {
    room -= (0x20..<0x7f).contains($0) ? 1 : 4
    return room >= 0
  }
  guard shown.count < text.count else { return String(decoding: text, as: UTF8.self) }
  // Does not split a character: a continuation byte never starts one.
  let end = text[..<shown.count].lastIndex { $0 & 0xc0 != 0x80 } ?? 0
  let isWhole = text[shown.count] & 0xc0 != 0x80
  return String(decoding: text[..<(isWhole ? shown.count : end)], as: UTF8.self) + "..."
}

extension Record.Kind {
  /// The letter of this type in the stream.
  package var letter: Character { Character(UnicodeScalar(rawValue)) }
}
