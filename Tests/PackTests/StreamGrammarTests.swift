// SPDX-License-Identifier: Apache-2.0

import ChangedBlocks
import Testing

@Suite("The grammar of the event stream")
struct StreamGrammarTests {
  @Test(arguments: [UInt32(16 << 20) + 1, .max])
  func `a header with too long a payload is refused before its payload is read`(size: UInt32) {
    var bytes = Record(.oldData, device: 1, length: 512, payloadSize: 512, sequence: 0).bytes
    bytes.replaceSubrange(
      24..<28, with: [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: size >> $0) })
    #expect(throws: StreamFault.payload(size)) { try Record(parsing: bytes.span) }
  }

  @Test func `two devices cannot have the same name`() throws {
    var grammar = StreamGrammar()
    for id in UInt8(1)...2 {
      let record = Record(
        .device, device: id, length: 512, payloadSize: 1, sequence: UInt32(id) - 1)
      try grammar.accept(record)
      if id == 1 {
        try grammar.declare(record, [0x61])
      } else {
        #expect(throws: StreamFault.nameTwice([0x61])) { try grammar.declare(record, [0x61]) }
      }
    }
    #expect(grammar.devices.map(\.id) == [1])
  }

  @Test(arguments: Record.Kind.allCases, [false, true])
  func `only data, zeros and writes can have the guest flag`(kind: Record.Kind, isGuest: Bool)
    throws
  {
    let bytes = Record(kind, device: 1, isCausedByGuest: isGuest, length: 512, sequence: 0).bytes
    #expect(bytes[7] == (isGuest ? 1 : 0))
    if isGuest, ![.oldData, .zeros, .write].contains(kind) {
      #expect(throws: StreamFault.unknownFlags(1)) { try Record(parsing: bytes.span) }
    } else {
      #expect(try Record(parsing: bytes.span).isCausedByGuest == isGuest)
    }
  }
}
