// SPDX-License-Identifier: Apache-2.0

package import System
import VMA

/// One client of the server: the handshake, then requests.
package struct NBDConnection {
  /// The client disconnects.
  private struct End: Error {}

  /// Seconds for the handshake: a client that sends nothing is not QEMU.
  private static let handshakeTime = 10.0

  private let socket: Descriptor
  private let targets: [Target]
  private let queue: EventQueue
  private let mailbox: Mailbox
  private let hold = Hold()
  /// For everything except data, and for data that is dropped.
  private let scratch: Buffer

  package init(
    _ socket: Descriptor, _ targets: [Target], _ queue: EventQueue, _ mailbox: Mailbox,
    _ scratch: Buffer
  ) {
    self.scratch = scratch
    self.socket = socket
    self.targets = targets
    self.queue = queue
    self.mailbox = mailbox
  }

  /// Serves the client until it disconnects.
  ///
  /// A client that opens no export has no effect: it is another run that checks whether this one is
  /// alive, or a stranger.
  package func run() {
    guard let target = try? shakeHands() else { return }
    if !target.open() {
      // QEMU has lost its connection; the data that it repeats now may be newer than before. Or it
      // is a different client.
      mailbox.post(
        .targetFailed(
          Failure(.inputOutput, "\(target.disk): a second connection was opened for this disk")))
    }
    do {
      while try serveRequest(of: target) {}
    } catch {
      mailbox.post(
        .targetFailed(
          Failure(.inputOutput, "\(target.disk): QEMU closed the connection for this disk")))
    }
  }

  /// - Returns: the export that the client chose; nil if it chose none.
  private func shakeHands() throws -> Target? {
    let end = Host.uptime + Self.handshakeTime
    var handshake = NBDHandshake(targets.map(\.export))
    while true {
      try socket.write(handshake.takeOutput())
      if let place = handshake.chosen { return targets[place] }
      if handshake.isAborted { return nil }
      var bytes: [UInt8] = []
      while bytes.count < handshake.needed {
        let rest = Int32(clamping: Int((end - Host.uptime) * 1000))
        guard rest > 0, socket.isReadable(within: rest) else { throw End() }
        let count = try socket.read(into: scratch, 0..<handshake.needed - bytes.count)
        guard count > 0 else { throw End() }
        bytes += scratch.withBytes(0..<count) { bytes in bytes.indices.map { bytes[$0] } }
      }
      try handshake.receive(bytes)
    }
  }

  // MARK: Requests

  /// Serves one request. A write is always acknowledged, whatever happens to its data: an error
  /// would be reported to the guest, whose own write may have caused it.
  ///
  /// - Returns: false if the client disconnects.
  private func serveRequest(of target: Target) throws -> Bool {
    if hold.isRunning { hold.nextRequest(isPending: socket.isReadable()) }
    try read(into: scratch, 0..<NBDRequest.size)
    let request = try scratch.withBytes(0..<NBDRequest.size) { try NBDRequest($0) }
    let (offset, length) = (request.offset, request.length)
    switch request.command {
    case .write:
      if check(target, offset, length) {
        try takeData(of: target, offset..<offset + length)
      } else {
        try drop(Int(length))
      }
    case .writeZeroes:
      if check(target, offset, length) { takeZeros(of: target, offset..<offset + length) }
    case .flush, .other: break
    case .disconnect: return false
    }
    try socket.write(request.reply)
    return true
  }

  /// A backup job writes complete clusters; anything else would be recorded incorrectly.
  private func check(_ target: Target, _ offset: UInt64, _ length: UInt64) -> Bool {
    let size = target.device.size
    let cluster = UInt64(VMAFormat.clusterSize)
    if offset.isMultiple(of: cluster), length > 0, length <= size, offset <= size - length,
      length.isMultiple(of: cluster) || offset + length == size
    {
      return true
    }
    mailbox.post(
      .targetFailed(
        Failure(
          .general,
          "\(target.disk): QEMU wrote \(length) bytes at \(offset), which is not a range of clusters"
        )))
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
        // A cluster that arrives again, in a request that QEMU repeats, may be newer by now.
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
        _ = target.claim(clusterAt: offset)
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

  // MARK: Bytes

  private func read(into buffer: Buffer, _ range: Range<Int>) throws {
    guard try socket.readFully(into: buffer, range) == range.count else { throw End() }
  }
}
