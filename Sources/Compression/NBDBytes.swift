// SPDX-License-Identifier: Apache-2.0

import Files
import NBD
package import System

/// The bytes of an NBD export.
///
/// Each thread that reads uses a connection of its own, up to a limit, if the server says that
/// connections see the same data; otherwise threads wait for the only one. A lost connection is
/// replaced at the next read.
package final class NBDBytes: RandomAccess, @unchecked Sendable {
  /// The URI.
  package let name: String
  package let size: UInt64
  private let connectionLimit: Int
  private let monitor = Monitor()
  private var idle: [NBDClient]
  private var connectionCount = 1

  private static let largestPool = 4
  /// The size of a request, and the maximum number of requests in progress on a connection.
  private static let requestSize = 1 << 18
  private static let requestCount = 8
  /// The size of reads that must be aligned.
  private static let bounceSize = 1 << 20

  /// Connects to a server.
  ///
  /// - Throws: `Failure` 66; 64 if the server serves a file that is also an output.
  package init(_ uri: String) throws {
    let client = try NBDClient(uri, failing: .noInput, asksForHoles: false)
    if let peer = client.peer { try Claims.input(of: peer, name: uri) }
    name = uri
    size = client.size
    connectionLimit = client.canMultiConnect ? Self.largestPool : 1
    idle = [client]
  }

  deinit {
    for client in idle { client.close() }
  }

  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws -> Int {
    guard offset < size, !range.isEmpty else { return 0 }
    let count = Int(min(UInt64(range.count), size - offset))
    let client = try takeClient()
    defer { returnClient(client) }
    let target = range.lowerBound..<range.lowerBound + count
    let block = client.blockSize
    let end = offset + UInt64(count)
    if offset.isMultiple(of: block), end.isMultiple(of: block) || end == size {
      try read(client, into: buffer, target, at: offset)
    } else {
      try readUnaligned(client, into: buffer, target, at: offset)
    }
    return count
  }

  private func readUnaligned(
    _ client: NBDClient, into buffer: Buffer, _ range: Range<Int>, at offset: UInt64
  ) throws {
    let block = client.blockSize
    // A server may require blocks of up to 32 MiB.
    let bounce = try Buffer(capacity: Self.bounceSize + 2 * Int(min(block, 32 << 20)))
    var done = 0
    while done < range.count {
      let start = offset + UInt64(done)
      let count = min(range.count - done, Self.bounceSize)
      let first = start / block * block
      let (last, overflows) = ((start + UInt64(count) - 1) / block + 1)
        .multipliedReportingOverflow(by: block)
      let end = overflows ? size : min(last, size)
      try read(client, into: bounce, 0..<Int(end - first), at: first)
      let part = Int(start - first)..<Int(start - first) + count
      buffer.copy(from: bounce, part, to: range.lowerBound + done)
      done += count
    }
  }

  /// Reads whole blocks of the server.
  private func read(
    _ client: NBDClient, into buffer: Buffer, _ range: Range<Int>, at offset: UInt64
  ) throws {
    let piece = client.payload(atMost: Self.requestSize)
    var requests: [NBDClient.Request] = []
    var failure: Failure?
    var position = range.lowerBound
    // After a failure, the buffer must not be used again before all replies have arrived.
    while !requests.isEmpty || failure == nil && position < range.upperBound {
      do throws(Failure) {
        while failure == nil, position < range.upperBound, requests.count < Self.requestCount {
          let part = position..<min(position + piece, range.upperBound)
          requests.append(
            try client.read(into: buffer, part, at: offset + UInt64(position - range.lowerBound)))
          position = part.upperBound
        }
        try client.wait(for: requests.removeFirst())
      } catch {
        if failure == nil { failure = error }
      }
    }
    if let failure { throw failure }
  }

  // MARK: Connections

  private func takeClient() throws -> NBDClient {
    try monitor.withLock {
      while true {
        if let client = idle.popLast() { return client }
        guard connectionCount < connectionLimit else {
          monitor.wait()
          continue
        }
        connectionCount += 1
        do {
          return try monitor.withoutLock {
            let client = try NBDClient(name, failing: .inputOutput, asksForHoles: false)
            guard client.size == size else {
              throw Failure(.inputOutput, "\(name): the size of the export has changed")
            }
            return client
          }
        } catch {
          connectionCount -= 1
          monitor.wakeAll()
          throw error
        }
      }
    }
  }

  private func returnClient(_ client: NBDClient) {
    monitor.withLock {
      if client.isAlive { idle.append(client) } else { connectionCount -= 1 }
      monitor.wakeAll()
    }
  }
}
