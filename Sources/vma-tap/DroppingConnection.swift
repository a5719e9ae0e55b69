// SPDX-License-Identifier: Apache-2.0

import FilterIO

/// A client of the NBD server when there is no worker any more: every write is answered with
/// success and dropped, so that the guest's own writes, which wait for it, go on.
final class DroppingConnection {
  let socket: Descriptor
  private var handshake: NBDHandshake
  private var isOpen = false
  private var input: [UInt8] = []
  private var output: [UInt8]
  /// The request whose data is on its way, and bytes of this data that are.
  private var request: NBDRequest?
  private var rest = 0

  /// The export that the client has opened, by its place.
  var export: Int? { handshake.chosen }
  var hasOutput: Bool { !output.isEmpty }
  /// Whether a request has come, so that the client takes itself for connected.
  private(set) var hasRequest = false
  /// When the client connected.
  let start = Host.uptime

  init(_ socket: Descriptor, _ exports: [NBDExport]) {
    self.socket = socket
    handshake = NBDHandshake(exports)
    output = handshake.takeOutput()
  }

  /// Reads and writes what is possible without waiting.
  ///
  /// - Returns: false where the client has gone.
  func serve(_ buffer: Buffer) -> Bool {
    do {
      while let count = try socket.readNow(into: buffer, 0..<buffer.capacity) {
        guard count > 0 else { return false }
        guard try take(buffer, count) else { return false }
        // One that sends without an end is not the only one.
        if output.count > 1 << 16 || count == buffer.capacity { break }
      }
      while !output.isEmpty, let count = try socket.writeNow(output) { output.removeFirst(count) }
      return true
    } catch {
      return false
    }
  }

  private func take(_ buffer: Buffer, _ count: Int) throws -> Bool {
    var start = 0
    while start < count {
      if rest > 0 {
        let part = min(rest, count - start)
        rest -= part
        start += part
        if rest == 0 { reply() }
        continue
      }
      let needed = export == nil ? handshake.needed : NBDRequest.size
      let part = min(needed - input.count, count - start)
      buffer.withBytes(start..<start + part) { bytes in
        for index in bytes.indices { input.append(bytes[index]) }
      }
      start += part
      if input.count == needed, try !takeInput() { return false }
    }
    return true
  }

  private func takeInput() throws -> Bool {
    defer { input = [] }
    guard export != nil else {
      try handshake.receive(input)
      // An option without data is complete with its header.
      if handshake.chosen == nil, handshake.needed == 0 { try handshake.receive([]) }
      output += handshake.takeOutput()
      return !handshake.isAborted
    }
    let request = try NBDRequest(input.span)
    self.request = request
    hasRequest = true
    switch request.command {
    case .disconnect: return false
    case .write where request.length > 0: rest = Int(request.length)
    default: reply()
    }
    return true
  }

  private func reply() {
    if let request { output += request.reply }
    request = nil
  }
}
