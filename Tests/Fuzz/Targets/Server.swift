// SPDX-License-Identifier: Apache-2.0

import Glibc
import System
import TapTool
import VMA

extension Target {
  /// The NBD server of vma-tap: the worker process and the guard, which takes its place, give the
  /// same answers to the same client.
  public static let nbd = Target(name: "nbd") { input in
    let client = Client(input)
    let devices = client.devices
    let targets = devices.enumerated().map { index, device in
      TapTool.Target(device, name: "disk\(index + 1)", disk: "d")
    }
    let exports = targets.map(\.export)

    let answers = try talk(client.bytes) { socket in
      let mailbox = Mailbox()
      // Full queues fail at once; then all data is dropped.
      let queue = try EventQueue(
        devices, spill: nil, patience: 0, mailbox: mailbox, bufferCount: 4)
      let scratch = try Buffer(capacity: VMAFormat.clusterSize)
      return try Thread { NBDConnection(socket, targets, queue, mailbox, scratch).run() }
    }
    // Small pieces, but not too many of them.
    for capacity in [max(client.chunk, client.bytes.count / 500), 1 << 20] {
      let buffer = try Buffer(capacity: capacity)
      let dropped = try talk(client.bytes) { socket in
        try Thread {
          let connection = DroppingConnection(socket, exports)
          while connection.serve(buffer) { socket.waitUntilReadable() }
        }
      }
      try require(dropped == answers, "the guard answers like the worker: \(client)")
    }
    guard let expected = client.expected else { return }
    try require(answers.suffix(expected.count) == expected[...], "the answers: \(client)")
    for (index, target) in targets.enumerated() {
      let missing = target.clusterCount - (index == client.export ? client.clusters.count : 0)
      try require(target.missingCount == missing, "the clusters that came: \(client)")
    }
  }

  /// Sends all the bytes to a server.
  ///
  /// - Returns: what it answers.
  private static func talk(
    _ bytes: [UInt8], _ start: (Descriptor) throws -> System.Thread
  ) throws -> [UInt8] {
    var ends: [Int32] = [-1, -1]
    try require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0, "no sockets")
    let socket = Descriptor(raw: ends[0], name: "client")
    let server = try start(Descriptor(raw: ends[1], name: "server"))
    defer { server.join() }
    let buffer = try Buffer(capacity: 1 << 16)
    var rest = bytes[...]
    var answers: [UInt8] = []
    while true {
      if !rest.isEmpty {
        // A server that has disconnected reads no more.
        let count = (try? socket.writeNow(rest.prefix(1 << 16))) ?? 0
        rest.removeFirst(count)
        if rest.isEmpty { shutdown(socket.raw, Int32(SHUT_WR)) }
      }
      do {
        guard let count = try socket.readNow(into: buffer, 0..<buffer.capacity) else {
          _ = socket.isReadable(within: rest.isEmpty ? 1000 : 1)
          continue
        }
        if count == 0 { return answers }
        answers += buffer.withBytes(0..<count) { bytes in bytes.indices.map { bytes[$0] } }
      } catch {
        return answers
      }
    }
  }
}

/// The bytes that a client sends, and their expected effect.
private struct Client: CustomStringConvertible {
  let devices = [
    ArchiveHeader.Device(id: 1, name: [65], size: 5 * 65536 + 512),
    ArchiveHeader.Device(id: 2, name: [66], size: 1024),
  ]
  var bytes: [UInt8] = []
  var description = ""
  var chunk: Int
  /// The export that it opens.
  var export: Int?
  /// The last answers; nil if they depend on something that is not modeled here.
  var expected: [UInt8]? = []
  var clusters: Set<UInt64> = []

  init(_ input: [UInt8]) {
    var choices = Choices(input)
    chunk = 1 + Int(choices.byte())
    let flags = choices.byte()
    add(UInt32(flags % 4 | 1))
    while !choices.isEmpty, export == nil, bytes.count < 4096 {
      addOption(&choices)
    }
    var isOpen = true
    while !choices.isEmpty, isOpen, bytes.count < 1 << 17 { isOpen = addRequest(&choices) }
    if export == nil { expected = nil }
  }

  private mutating func add(_ value: some FixedWidthInteger & UnsignedInteger) {
    for shift in stride(from: value.bitWidth - 8, through: 0, by: -8) {
      bytes.append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  private mutating func addOption(_ choices: inout Choices) {
    let kind = choices.byte()
    if kind == 255 {
      expected = nil
      return bytes += choices.bytes(Int(choices.byte()))
    }
    let option = UInt32(kind % 10)
    let place = Int(choices.byte())
    let name = Array(place < 8 ? "disk\(place % 2 + 1)".utf8 : "disk3".utf8)
    var data: [UInt8] = []
    switch option {
    case 1: data = name
    case 6, 7:
      let extra = choices.byte() % 8
      data = [0, 0, 0, UInt8(name.count) &+ (extra == 7 ? 200 : 0)] + name + [0, extra % 4]
      data += choices.bytes(2 * Int(extra % 4))
    default: data = choices.bytes(Int(choices.byte() % 32))
    }
    description += "option \(option) \(data); "
    add(UInt64(0x4948_4156_454f_5054))
    add(option)
    add(UInt32(data.count))
    bytes += data
    // Only a well-behaved client is modeled.
    if [1, 7].contains(option), place < 8, data.count < 3 || data[3] < 200 { export = place % 2 }
    if option == 2 || option == 1 && place >= 8 { expected = nil }
  }

  /// - Returns: whether another one can follow.
  private mutating func addRequest(_ choices: inout Choices) -> Bool {
    guard let export else { return false }
    let kind = choices.byte()
    if kind == 255 {
      expected = nil
      bytes += choices.bytes(Int(choices.byte()))
      return true
    }
    let command = UInt16(kind % 8)
    let handle = UInt64(bytes.count)
    let place = choices.byte()
    let aligned = UInt64(place % 8) * 65536
    let offset = place < 200 ? aligned : aligned &+ choices.number()
    let size = devices[export].size
    var length = UInt32(place < 128 ? min(65536, size - min(size, offset)) : 0)
    if place >= 128 { length = UInt32(truncatingIfNeeded: choices.number()) }
    if command == 1, length > 1 << 16, choices.byte() > 0 { length = 1 << 16 }
    description += "request \(command) \(offset) \(length); "
    add(UInt32(0x2560_9513))
    add(UInt16(choices.byte() % 4))
    add(command)
    add(handle)
    add(offset)
    add(length)
    if command == 1 {
      guard length <= 32 << 20 else { return false }
      // The client disconnects within the data.
      let isTorn = length > 1 << 16
      let fill = choices.byte()
      bytes += [UInt8](repeating: fill, count: isTorn ? 100 : Int(length))
      guard !isTorn else {
        // How much of it arrived is not modeled.
        expected = nil
        return false
      }
    }
    if command == 2 { return false }
    expected? += [0x67, 0x44, 0x66, 0x98, 0, 0, 0, [1, 3, 6].contains(command) ? 0 : 22]
    for shift in stride(from: 56, through: 0, by: -8) {
      expected?.append(UInt8(truncatingIfNeeded: handle >> UInt64(shift)))
    }
    let (end, overflows) = offset.addingReportingOverflow(UInt64(length))
    if [1, 6].contains(command), length > 0, !overflows, end <= size, offset % 65536 == 0,
      length % 65536 == 0 || end == size
    {
      for cluster in offset / 65536..<(end + 65535) / 65536 { clusters.insert(cluster) }
    }
    return true
  }
}
