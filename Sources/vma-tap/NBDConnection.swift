// SPDX-License-Identifier: Apache-2.0

import FilterIO
import VMA

/// One client of the server: the handshake of the NBD protocol ("fixed newstyle"), then requests.
///
/// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
struct NBDConnection {
  private enum Magic {
    static let server: UInt64 = 0x4e42_444d_4147_4943  // "NBDMAGIC"
    static let option: UInt64 = 0x4948_4156_454f_5054  // "IHAVEOPT"
    static let optionReply: UInt64 = 0x3_e889_0455_65a9
    static let request: UInt32 = 0x2560_9513
    static let reply: UInt32 = 0x6744_6698
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

  private enum Command {
    static let write: UInt16 = 1
    static let disconnect: UInt16 = 2
    static let flush: UInt16 = 3
    static let writeZeroes: UInt16 = 6
  }

  private enum Errno {
    static let invalid: UInt32 = 22
  }

  /// The client goes away, or talks of what cannot be.
  private struct End: Error {}

  /// Flags are there; flush, force unit access and write-zeroes can be sent.
  private static let transmissionFlags: UInt16 = 1 | 4 | 8 | 0x40
  /// The most that a request may bring, as the protocol recommends.
  private static let maximumRequest = 32 << 20

  private let socket: Descriptor
  private let targets: [Target]
  private let queue: EventQueue
  private let mailbox: Mailbox
  private let hold = Hold()
  /// For all that is no data, and for data that is dropped.
  private let scratch: Buffer

  init(_ socket: Descriptor, _ targets: [Target], _ queue: EventQueue, _ mailbox: Mailbox) throws {
    scratch = try Buffer(capacity: Format.clusterSize)
    self.socket = socket
    self.targets = targets
    self.queue = queue
    self.mailbox = mailbox
  }

  func run() {
    guard let target = try? shakeHands() else { return }
    do {
      while try serveRequest(of: target) {}
    } catch {
      mailbox.post(
        .targetFailed(
          Failure(.inputOutput, "\(target.name): QEMU has ended the connection for its data")))
    }
  }

  // MARK: Handshake

  /// - Returns: the export that the client has chosen; nil where it has chosen none.
  private func shakeHands() throws -> Target? {
    try socket.write(bigEndian(Magic.server) + bigEndian(Magic.option) + bigEndian(UInt16(3)))
    let flags: UInt32 = try readInteger()
    guard flags & 1 == 1 else { throw End() }
    let sendsPadding = flags & 2 == 0
    while true {
      let magic: UInt64 = try readInteger()
      let option: UInt32 = try readInteger()
      let size: UInt32 = try readInteger()
      guard magic == Magic.option, size <= 8192 else { throw End() }
      let data = try readBytes(Int(size))
      switch option {
      case Option.exportName:
        guard let target = target(named: data[...]) else { throw End() }
        try socket.write(
          bigEndian(target.device.size) + bigEndian(Self.transmissionFlags)
            + [UInt8](repeating: 0, count: sendsPadding ? 124 : 0))
        return target
      case Option.abort:
        try answer(option, OptionReply.acknowledge)
        return nil
      case Option.list:
        for target in targets {
          let name = Array(target.name.utf8)
          try answer(option, OptionReply.server, bigEndian(UInt32(name.count)) + name)
        }
        try answer(option, OptionReply.acknowledge)
      case Option.info, Option.go:
        // A name behind its length; then what else the client would like to know, and need not.
        let length = data.prefix(4).reduce(0) { $0 << 8 | Int($1) }
        guard data.count >= 6, length <= data.count - 6 else {
          try answer(option, OptionReply.invalid)
          continue
        }
        guard let target = target(named: data[4..<4 + length]) else {
          try answer(option, OptionReply.unknown)
          continue
        }
        try answer(
          option, OptionReply.info,
          bigEndian(UInt16(0)) + bigEndian(target.device.size)
            + bigEndian(Self.transmissionFlags))
        try answer(option, OptionReply.acknowledge)
        if option == Option.go { return target }
      default:
        try answer(option, OptionReply.unsupported)
      }
    }
  }

  private func target(named name: ArraySlice<UInt8>) -> Target? {
    targets.first { $0.name.utf8.elementsEqual(name) }
  }

  private func answer(_ option: UInt32, _ kind: UInt32, _ data: [UInt8] = []) throws {
    try socket.write(
      bigEndian(Magic.optionReply) + bigEndian(option) + bigEndian(kind)
        + bigEndian(UInt32(data.count)) + data)
  }

  // MARK: Requests

  /// Serves one request. A write is answered with success whatever becomes of it here: an error
  /// would be handed on to the guest, whose own write may have caused it.
  ///
  /// - Returns: false where the client takes its leave.
  private func serveRequest(of target: Target) throws -> Bool {
    if hold.isRunning { hold.nextRequest(isPending: socket.isReadable()) }
    try read(into: scratch, 0..<28)
    let (magic, command, handle, offset, length) = scratch.withBytes(0..<28) { bytes in
      (
        bytes.load(0, as: UInt32.self), bytes.load(6, as: UInt16.self),
        bytes.load(8, as: UInt64.self), bytes.load(16, as: UInt64.self),
        UInt64(bytes.load(24, as: UInt32.self))
      )
    }
    guard magic == Magic.request else { throw End() }
    switch command {
    case Command.write:
      guard length <= Self.maximumRequest else { throw End() }
      if check(target, offset, length) {
        try takeData(of: target, offset..<offset + length)
      } else {
        try drop(Int(length))
      }
      try reply(handle)
    case Command.writeZeroes:
      if check(target, offset, length) { takeZeros(of: target, offset..<offset + length) }
      try reply(handle)
    case Command.flush: try reply(handle)
    case Command.disconnect: return false
    default: try reply(handle, error: Errno.invalid)
    }
    return true
  }

  /// A backup job writes whole clusters; anything else would be told wrongly.
  private func check(_ target: Target, _ offset: UInt64, _ length: UInt64) -> Bool {
    let size = target.device.size
    let cluster = UInt64(Format.clusterSize)
    if offset.isMultiple(of: cluster), length > 0, length <= size, offset <= size - length,
      length.isMultiple(of: cluster) || offset + length == size
    {
      return true
    }
    mailbox.post(
      .targetFailed(
        Failure(
          .general, "\(target.name): QEMU writes \(length) bytes at \(offset), no whole clusters")))
    return false
  }

  private func takeData(of target: Target, _ range: Range<UInt64>) throws {
    let isOfGuest = target.isAheadOfBackground(clusterAt: range.lowerBound)
    var offset = range.lowerBound
    while offset < range.upperBound {
      let length = target.length(ofClusterAt: offset)
      if let buffer = queue.buffer(hold) {
        let data = Cluster.headroom..<Cluster.headroom + length
        do {
          try read(into: buffer, data)
        } catch {
          queue.giveBack(buffer)
          throw error
        }
        // A cluster that comes again, of a request that QEMU repeats, may be younger by now.
        if !target.claim(clusterAt: offset) {
          queue.giveBack(buffer)
        } else if buffer.isZero(data) {
          queue.giveBack(buffer)
          queue.appendZeros(
            device: target.device.id, offset: offset, length: UInt64(length), isOfGuest: isOfGuest)
        } else {
          queue.append(
            Cluster(
              device: target.device.id, offset: offset, length: length, isOfGuest: isOfGuest,
              buffer: buffer))
        }
      } else {
        try drop(length)
      }
      offset += UInt64(length)
    }
  }

  private func takeZeros(of target: Target, _ range: Range<UInt64>) {
    let isOfGuest = target.isAheadOfBackground(clusterAt: range.lowerBound)
    var start = range.lowerBound
    var offset = start
    func tell(to end: UInt64) {
      guard end > start else { return }
      queue.appendZeros(
        device: target.device.id, offset: start, length: end - start, isOfGuest: isOfGuest)
    }
    while offset < range.upperBound {
      let next = offset + UInt64(target.length(ofClusterAt: offset))
      if !target.claim(clusterAt: offset) {
        tell(to: offset)
        start = next
      }
      offset = next
    }
    tell(to: offset)
  }

  private func drop(_ count: Int) throws {
    var rest = count
    while rest > 0 {
      let part = min(rest, scratch.capacity)
      try read(into: scratch, 0..<part)
      rest -= part
    }
  }

  private func reply(_ handle: UInt64, error: UInt32 = 0) throws {
    try socket.write(bigEndian(Magic.reply) + bigEndian(error) + bigEndian(handle))
  }

  // MARK: Bytes

  private func read(into buffer: Buffer, _ range: Range<Int>) throws {
    guard try socket.readFully(into: buffer, range) == range.count else { throw End() }
  }

  private func readBytes(_ count: Int) throws -> [UInt8] {
    try read(into: scratch, 0..<count)
    return scratch.withBytes(0..<count) { bytes in bytes.indices.map { bytes[$0] } }
  }

  private func readInteger<Value: FixedWidthInteger & UnsignedInteger>() throws -> Value {
    try readBytes(Value.bitWidth / 8).reduce(0) { $0 << 8 | Value($1) }
  }
}

private func bigEndian(_ value: some FixedWidthInteger & UnsignedInteger) -> [UInt8] {
  stride(from: value.bitWidth - 8, through: 0, by: -8).map {
    UInt8(truncatingIfNeeded: value >> $0)
  }
}
