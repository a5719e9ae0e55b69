// SPDX-License-Identifier: Apache-2.0

import ChangedBlocks

extension Target {
  /// Records and the grammar of an event stream, from records in a short form: their fields, with
  /// the sequence number mostly right.
  public static let events = Target(name: "events") { input in
    var choices = Choices(input)
    var grammar = StreamGrammar()
    var accepted: [Record] = []
    var sequence: UInt32 = 0
    while !choices.isEmpty {
      if choices.byte() % 32 == 31 {
        try checkRaw(choices.bytes(32))
        continue
      }
      let kinds = Record.Kind.allCases
      let kind = kinds[Int(choices.byte()) % kinds.count]
      let device = choices.byte()
      let shift = UInt64(choices.byte() % 2 * 9)
      let record = Record(
        kind, device: device, isCausedByGuest: device > 250, offset: choices.number() << shift,
        length: choices.number() << shift,
        payloadSize: Int(truncatingIfNeeded: choices.number()),
        sequence: sequence &+ (choices.byte() == 255 ? 1 : 0))
      _ = record.bytes
      let before = grammar
      do {
        try grammar.accept(record)
      } catch {
        _ = "\(error)"
        try require(grammar.recordCount == before.recordCount, "a refused record counts")
        continue
      }
      var flagless = record
      let takesFlag = [.oldData, .zeros, .write].contains(kind)
      if !takesFlag { flagless.isCausedByGuest = false }
      try require(
        try Record(parsing: flagless.bytes.span) == flagless, "written and read is the same")
      try check(record, grammar, before)
      sequence &+= 1
      accepted.append(record)
      if [.config, .device, .abort].contains(kind) {
        let payload = choices.bytes(min(record.payloadSize, Int(choices.byte())))
        do { try grammar.declare(record, payload) } catch { _ = "\(error)" }
      }
    }
    try require(grammar.recordCount == UInt64(accepted.count), "all accepted records count")
    try require(
      Set(grammar.devices.map(\.name)).count == grammar.devices.count, "names of devices")
    try require(
      Set(grammar.configs.map(\.name)).count == grammar.configs.count, "names of configs")
    try require(grammar.configs.count <= StreamFormat.maximumConfigCount, "configs")
    if grammar.hasEnded {
      try require(grammar.devices.allSatisfy(\.isFinished), "the end of all devices")
      try require(accepted.last?.kind == .end, "the end is last")
      try require(accepted.last?.offset == UInt64(accepted.count - 1), "the end counts")
    }
  }

  private static func checkRaw(_ bytes: [UInt8]) throws {
    var bytes = bytes
    bytes.replaceSubrange(0..<min(4, bytes.count), with: Array("CBE1".utf8).prefix(bytes.count))
    do {
      let record = try Record(parsing: bytes.span)
      try require(record.bytes == bytes, "read and written is the same")
    } catch let fault as StreamFault {
      _ = fault.description
    }
  }

  /// What the manual promises for each accepted record.
  private static func check(
    _ record: Record, _ grammar: StreamGrammar, _ before: StreamGrammar
  ) throws {
    try require(!before.hasEnded, "something behind the end")
    switch record.kind {
    case .config, .device, .begin:
      try require(!before.hasBegun, "a declaration behind begin")
    case .oldData, .zeros, .write, .state, .finish:
      let device = before.device(record.device)
      try require(device != nil && before.hasBegun, "a device that is not there")
      try require(device?.isFinished == false, "a device that is finished")
      if [.oldData, .zeros, .write].contains(record.kind), let device {
        let (end, overflows) = record.offset.addingReportingOverflow(record.length)
        try require(!overflows && end <= device.size, "a range beyond the device")
        try require(record.offset % 512 == 0 && record.length % 512 == 0, "sectors")
        try require(record.length >= 512 && !device.isState, "a range")
      }
    case .end: try require(grammar.hasEnded && before.hasBegun, "the end")
    case .abort: break
    }
  }
}
