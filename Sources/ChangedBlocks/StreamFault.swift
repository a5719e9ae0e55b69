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
    case .torn: "the stream is cut"
    case .magic: "no record starts here"
    case .unknownKind(let kind): "unknown type \(kind)"
    case .unknownFlags(let flags): "unknown flags \(flags)"
    case .payload(let size): "a payload of \(size) bytes"
    case .sequence(let expected, let found): "sequence \(found) instead of \(expected)"
    case .outOfPlace(let kind): "'\(kind.letter)' is out of place"
    case .unknownDevice(let id): "device \(id) was not declared"
    case .deviceNumber(let id): "device \(id) cannot be"
    case .deviceTwice(let id): "device \(id) is declared twice"
    case .nameTwice(let name): "the name \(quoted(name)) comes twice"
    case .name: "a bad name"
    case .config: "a bad config"
    case .tooManyConfigs: "more than \(StreamFormat.maximumConfigCount) configs"
    case .size(let size): "a device cannot have \(size) bytes"
    case .time(let seconds): "the time of 'B' cannot be \(seconds)"
    case .field(let kind): "'\(kind.letter)' has a field that must be zero, or a wrong length"
    case .range(let offset, let length): "bad range of \(length) bytes at \(offset)"
    case .finished(let id): "device \(id) is finished already"
    case .notFinished(let id): "device \(id) is not finished"
    case .count(let expected, let found): "the end counts \(found) records, not \(expected)"
    case .behindEnd: "something follows the end"
    case .cannotHold(let id): "a write to device \(id) is announced, but cannot be answered"
    case .aborted(let reason): "the producer gave up: \(quoted(reason))"
    case .gap(let name, let byte):
      "\(quoted(name)) is finished, but nothing was told of byte \(byte)"
    }
  }
}

/// Text of the stream for a message: its beginning, where it is long. As control characters are shown
/// as `\xNN`, each byte of one takes four.
private func quoted(_ text: [UInt8]) -> String {
  var room = 300
  let shown = text.prefix {
    room -= (0x20..<0x7f).contains($0) ? 1 : 4
    return room >= 0
  }
  guard shown.count < text.count else { return String(decoding: text, as: UTF8.self) }
  // Not half a character: a byte that goes on with one is none to begin with.
  let end = text[..<shown.count].lastIndex { $0 & 0xc0 != 0x80 } ?? 0
  let isWhole = text[shown.count] & 0xc0 != 0x80
  return String(decoding: text[..<(isWhole ? shown.count : end)], as: UTF8.self) + "..."
}

extension Record.Kind {
  /// The letter of the type in the stream.
  package var letter: Character { Character(UnicodeScalar(rawValue)) }
}
