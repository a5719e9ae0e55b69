// SPDX-License-Identifier: Apache-2.0

package import System

/// A client of the NBD server when there is no worker any more: every write is answered with
/// success and dropped, so that the guest's own writes, which wait for it, go on.
package final class DroppingConnection {
  package let socket: Descriptor
  private var handshake: NBDHandshake
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

  package init(_ socket: Descriptor, _ exports: [NBDExport]) {
    self.socket = socket
    handshake = NBDHandshake(exports)
    output = handshake.takeOutput()
  }

  /// Reads and writes what is possible without waiting.
  ///
  /// - Returns: false where the client has gone.
  package func serve(_ buffer: Buffer) -> Bool {
    do {
      var isThere = true
      while isThere, let count = try socket.readNow(into: buffer, 0..<buffer.capacity) {
        isThere = count > 0 && take(buffer, count)
        // One that sends without an end is not the only one.
        if output.count > 1 << 16 || count == buffer.capacity { break }
      }
      // Valid requests are answered, whatever came after them.
      while !output.isEmpty, let count = try socket.writeNow(output) { output.removeFirst(count) }
      return isThere
    } catch {
      return false
    }
  }

  /// - Returns: false where nothing valid can follow.
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
