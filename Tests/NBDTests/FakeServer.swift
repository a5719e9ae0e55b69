// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import Testing

/// An NBD server whose answers a test determines.
final class FakeServer: Sendable {
  struct Behaviour: Sendable {
    var image: [UInt8]
    /// The size that it reports.
    var size: UInt64
    /// The lengths and flags in the answer to a query for an offset and a length; nil is an error.
    var extents: @Sendable (UInt64, UInt32) -> [UInt32]? = { _, length in [length, 0] }
    /// The number of bytes after which it disconnects in the middle of a reply.
    var hangsUpAfter = Int.max
    /// The number of bytes missing in the reply to a read.
    var omitted = 0
    /// Answers the requests in groups of this size, the last one first.
    var reverses = 1

    init(_ image: [UInt8]) {
      self.image = image
      size = UInt64(image.count)
    }
  }

  private struct Count { var reads = 0, bytes = 0 }

  private let listener: Int32
  private let behaviour: Behaviour
  private let count = Mutex(Count())
  let uri = "nbd+unix:///?socket=fake"
  /// The number of bytes that were requested.
  var bytesRead: Int { count.withLock(\.bytes) }

  init(_ dir: Scratch, _ behaviour: Behaviour) throws {
    self.behaviour = behaviour
    listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | 0o2000000, 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let path = Array(dir("fake").utf8)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
    let isBound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
    guard isBound, listen(listener, 8) == 0 else { throw SystemFailure("bind") }
    Thread { [listener, self] in
      while true {
        let client = accept(listener, nil, nil)
        guard client >= 0 else { return }
        serve(Peer(client))
        close(client)
      }
    }.start()
  }

  /// The thread keeps the server alive, so this ends both.
  func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

  private func serve(_ peer: Peer) {
    peer.send(Array("NBDMAGICIHAVEOPT".utf8) + bigEndian(UInt16(3)))
    guard peer.receive(4) != nil, negotiate(peer) else { return }
    var waiting: [(cookie: UInt64, offset: Int, length: Int)] = []
    while let request = peer.receive(28) {
      let type = Int(request[6]) << 8 | Int(request[7])
      let cookie = number(request[8..<16])
      let (offset, length) = (number(request[16..<24]), number(request[24..<28]))
      switch type {
      case 0:
        waiting.append((cookie, Int(offset), Int(length)))
        if waiting.count >= behaviour.reverses || Int(offset + length) >= behaviour.image.count {
          for read in waiting.reversed() where !answer(read, peer) { return }
          waiting = []
        }
      case 7:
        if let extents = behaviour.extents(offset, UInt32(length)) {
          let entries = extents.flatMap { bigEndian($0) }
          reply(peer, cookie, type: 5, bigEndian(UInt32(1)) + entries)
        } else {
          reply(peer, cookie, type: 0x8001, bigEndian(UInt32(EINVAL)) + bigEndian(UInt16(0)))
        }
      default: return
      }
    }
  }

  private func negotiate(_ peer: Peer) -> Bool {
    while let head = peer.receive(16) {
      let option = number(head[8..<12])
      guard peer.receive(Int(number(head[12..<16]))) != nil else { return false }
      func answer(_ type: UInt32, _ data: [UInt8] = []) {
        peer.send(
          bigEndian(UInt64(0x3_e889_0455_65a9)) + bigEndian(UInt32(option)) + bigEndian(type)
            + bigEndian(UInt32(data.count)) + data)
      }
      switch option {
      case 7:
        answer(3, bigEndian(UInt16(0)) + bigEndian(behaviour.size) + bigEndian(UInt16(1)))
        answer(1)
        return true
      case 8: answer(1)
      case 10:
        answer(4, bigEndian(UInt32(1)) + Array("base:allocation".utf8))
        answer(1)
      default: answer(0x8000_0001)
      }
    }
    return false
  }

  private func answer(
    _ read: (cookie: UInt64, offset: Int, length: Int), _ peer: Peer
  ) -> Bool {
    let total = count.withLock { count in
      count.bytes += read.length
      return count.bytes
    }
    guard read.offset + read.length <= behaviour.image.count else {
      reply(peer, read.cookie, type: 0x8001, bigEndian(UInt32(EINVAL)) + bigEndian(UInt16(0)))
      return true
    }
    let data = behaviour.image[read.offset..<read.offset + read.length - behaviour.omitted]
    let payload = bigEndian(UInt64(read.offset)) + data
    guard total <= behaviour.hangsUpAfter else {
      peer.send(
        bigEndian(UInt32(0x668e_33ef)) + bigEndian(UInt16(1)) + bigEndian(UInt16(1))
          + bigEndian(read.cookie) + bigEndian(UInt32(payload.count)) + payload.prefix(1000))
      return false
    }
    reply(peer, read.cookie, type: 1, payload)
    return true
  }

  private func reply(_ peer: Peer, _ cookie: UInt64, type: UInt16, _ payload: [UInt8]) {
    peer.send(
      bigEndian(UInt32(0x668e_33ef)) + bigEndian(UInt16(1)) + bigEndian(type)
        + bigEndian(cookie) + bigEndian(UInt32(payload.count)) + payload)
  }

  private func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.reduce(0) { $0 << 8 | UInt64($1) }
  }
}

/// The other end of a connection.
private struct Peer {
  let socket: Int32
  init(_ socket: Int32) { self.socket = socket }

  func send(_ bytes: [UInt8]) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(socket, $0.baseAddress.map { $0 + done }, bytes.count - done, 0x4000)
      }
      if count <= 0 { return }
      done += count
    }
  }

  func receive(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    let got = count == 0 ? 0 : recv(socket, &bytes, count, Int32(MSG_WAITALL))
    return got == count ? bytes : nil
  }
}
