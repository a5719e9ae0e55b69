// SPDX-License-Identifier: Apache-2.0

extension String {
  /// Text from elsewhere, made safe for a terminal: control characters, marks that change the
  /// direction of writing, and bytes that are not UTF-8 appear as `\xNN`.
  ///
  /// - Parameter keepingLines: keeps newlines and tabs.
  package init(printable bytes: some Collection<UInt8>, keepingLines: Bool = false) {
    let bytes = Array(bytes)
    var text = ""
    func escape(_ range: Range<Int>) {
      for byte in bytes[range] {
        text += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    var parser = Unicode.UTF8.ForwardParser()
    var iterator = bytes.makeIterator()
    var place = 0
    parsing: while true {
      switch parser.parseScalar(from: &iterator) {
      case .valid(let encoded):
        let next = place + encoded.count
        let scalar = Unicode.UTF8.decode(encoded)
        if scalar.isHarmless || keepingLines && (scalar == "\n" || scalar == "\t") {
          text.unicodeScalars.append(scalar)
        } else {
          escape(place..<next)
        }
        place = next
      case .error(let length):
        escape(place..<place + length)
        place += length
      case .emptyInput:
        break parsing
      }
    }
    self = text
  }
}

extension String {
  /// The same, shortened in its middle if necessary: a message has its tool and file at its start,
  /// and its reason at its end.
  ///
  /// - Parameter count: the maximum length in bytes.
  package init(printable bytes: some BidirectionalCollection<UInt8>, atMost count: Int) {
    let bytes = Array(bytes)
    // Printable text is never shorter than its bytes, so only the start and end can remain.
    let isLong = bytes.count > 2 * count
    let text = String(printable: isLong ? bytes.prefix(count) + bytes.suffix(count) : bytes[...])
    let shown = Array(text.utf8)
    guard shown.count > count else {
      self = text
      return
    }
    let mark = "…"
    let half = (count - mark.utf8.count) / 2
    var (head, tail) = (half, shown.count - half)
    // Not within a character.
    while shown[head] & 0xc0 == 0x80 { head -= 1 }
    while shown[tail] & 0xc0 == 0x80 { tail += 1 }
    self =
      String(decoding: shown[..<head], as: UTF8.self) + mark
      + String(decoding: shown[tail...], as: UTF8.self)
  }
}

extension Unicode.Scalar {
  /// Whether it is neither a control character nor a mark that changes the direction of writing.
  package var isHarmless: Bool {
    switch value {
    case 0..<0x20, 0x7f..<0xa0: false
    case 0x061c, 0x200e, 0x200f, 0x2028...0x202e, 0x2066...0x2069, 0xfeff: false
    default: true
    }
  }
}
