// SPDX-License-Identifier: Apache-2.0

package import System

/// A client of the NBD server after the worker has died: every write is acknowledged and dropped,
/// so that the guest's own writes, which wait for it, continue.
package final class DroppingConnection {
  package let socket: Descriptor
  private var handshake: NBDHandshake
  private var input: [UInt8] = []
  private var output: [UInt8]
  /// The request whose data is arriving, and the bytes of that data received so far.
  private var request: NBDRequest?
  private var rest = 0

  /// The index of the export that the client opened.
  var export: Int? { handshake.chosen }
  var hasOutput: Bool { !output.isEmpty }
  /// Whether a request has arrived, so that the client considers itself connected.
  private(set) var hasRequest = false
  /// When the client connected.
  let start = Host.uptime

  package init(_ socket: Descriptor, _ exports: [NBDExport]) {
    self.socket = socket
    handshake = NBDHandshake(exports)
    output = handshake.takeOutput()
  }

  /// Reads and writes what is possible without waiting.
  ///
  /// - Returns: false if the client has disconnected.
  package func serve(_ buffer: Buffer) -> Bool {
    do {
      var isThere = true
      while isThere, let count = try socket.readNow(into: buffer, 0..<buffer.capacity) {
        isThere = count > 0 && take(buffer, count)
        // A client that sends endlessly must not block the others.
        if output.count > 1 << 16 || count == buffer.capacity { break }
      }
      // Valid requests are answered, even if invalid data follows.
      while !output.isEmpty, let count = try socket.writeNow(output) { output.removeFirst(count) }
      return isThere
    } catch {
      return false
    }
  }

  /// - Returns: false if nothing valid can follow.
  private func take(_ buffer: Buffer, _ count: Int) -> Bool {
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
      guard input.count == needed else { continue }
      do {
        guard try takeInput() else { return false }
      } catch {
        return false
      }
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
