// SPDX-License-Identifier: Apache-2.0

import CNBD
import Glibc
package import System

/// The only connection to an NBD export: a server may accept only one client, and some versions of
/// QEMU crash when a client disconnects (see vma-pack(1)), so there is no separate connection to
/// query it first.
///
/// Used by one thread at a time. libnbd transfers data only while it is called, so `read`, `write`
/// and `zero` send requests, and replies arrive while the caller waits for one.
@safe package final class NBDClient {
  /// A request that is not answered yet.
  package struct Request {
    fileprivate let cookie: UInt64
    fileprivate let offset: UInt64
  }

  /// The error of a server for a request: its text and its code.
  private struct Refusal: Error {
    let words: String
    let code: Int32
    /// Uses the error that libnbd stores for the last failed call of this thread.
    init() {
      let text = unsafe nbd_get_error().map { unsafe String(cString: $0) } ?? "unknown error"
      // The name of the C function at the start does not help the user.
      let parts = text.split(separator: ": ", maxSplits: 1)
      words = parts.count == 2 && parts[0].hasPrefix("nbd_") ? String(parts[1]) : text
      code = nbd_get_errno()
    }
  }

  /// Its name in messages.
  package let uri: String
  private let handle: OpaquePointer
  /// Size in bytes.
  package let size: UInt64
  /// The alignment of offsets and lengths of requests; a power of 2, at least 1.
  package let blockSize: UInt64
  private let largestPayload: UInt64

  private static let context = LIBNBD_CONTEXT_BASE_ALLOCATION

  /// Connects and reads the properties of the export.
  ///
  /// - Parameters:
  ///   - uri: in the syntax of `nbd_connect_uri`; files that it names (TLS keys) may be read.
  ///   - failing: the status of a failure here.
  ///   - asksForHoles: enables `allocation`, if the server supports it.
  package init(_ uri: String, failing status: Failure.Status, asksForHoles: Bool) throws(Failure) {
    self.uri = uri
    func failure() -> Failure { Failure(status, "\(uri): \(Refusal().words)") }
    guard let handle = unsafe nbd_create() else { throw failure() }
    guard unsafe nbd_set_uri_allow_local_file(handle, true) == 0,
      unsafe !asksForHoles || nbd_add_meta_context(handle, Self.context) == 0,
      // A reply that does not fill the buffer is an error in libnbd, so the buffer need not be
      // cleared.
      unsafe nbd_set_pread_initialize(handle, false) == 0,
      unsafe nbd_connect_uri(handle, uri) == 0
    else {
      let failure = failure()
      unsafe nbd_close(handle)
      throw failure
    }
    let size = unsafe nbd_get_size(handle)
    guard size >= 0 else {
      let failure = failure()
      unsafe nbd_close(handle)
      throw failure
    }
    let smallest = unsafe nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM)
    let largest = unsafe nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM)
    unsafe self.handle = unsafe handle
    self.size = UInt64(size)
    blockSize = UInt64(max(smallest, 1))
    // If a server states no limit, the protocol allows 32 MiB.
    largestPayload = largest > 0 ? UInt64(largest) : 32 << 20
  }

  deinit {
    unsafe nbd_close(handle)
  }

  // MARK: Properties of the server

  /// The server, if it is a process on this machine.
  package var peer: PeerProcess? { PeerProcess(of: unsafe nbd_aio_get_fd(handle)) }

  package var isReadOnly: Bool { unsafe nbd_is_read_only(handle) == 1 }
  package var canZero: Bool { unsafe nbd_can_zero(handle) == 1 }
  /// Whether all connections to the export see the same data.
  package var canMultiConnect: Bool { unsafe nbd_can_multi_conn(handle) == 1 }
  package var canFlush: Bool { unsafe nbd_can_flush(handle) == 1 }
  package var canTellHoles: Bool { unsafe nbd_can_meta_context(handle, Self.context) == 1 }

  /// The maximum size of a request, at most `wish`: a multiple of the block size.
  package func payload(atMost wish: Int) -> Int {
    let most = min(UInt64(wish), largestPayload)
    return Int(max(most / blockSize, 1) * blockSize)
  }

  /// Whether another request can be sent.
  package var isAlive: Bool {
    unsafe nbd_aio_is_ready(handle) == 1 || nbd_aio_is_processing(handle) == 1
  }

  // MARK: Requests

  /// Reads bytes of the export. The buffer must remain unchanged until the reply has arrived.
  package func read(into buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws(Failure)
    -> Request
  {
    try request(at: offset) {
      unsafe buffer.withPointer(range) { bytes in
        unsafe nbd_aio_pread(
          handle, bytes.baseAddress, bytes.count, offset, nbd_completion_callback(), 0)
      }
    }
  }

  /// Writes bytes to the export. The buffer must remain unchanged until the reply has arrived.
  package func write(_ buffer: Buffer, _ range: Range<Int>, at offset: UInt64) throws(Failure)
    -> Request
  {
    try request(at: offset) {
      unsafe buffer.withPointer(range) { bytes in
        unsafe nbd_aio_pwrite(
          handle, bytes.baseAddress, bytes.count, offset, nbd_completion_callback(), 0)
      }
    }
  }

  /// Zeros a range, which the server may turn into a hole.
  package func zero(_ range: Range<UInt64>) throws(Failure) -> Request {
    try request(at: range.lowerBound) {
      unsafe nbd_aio_zero(
        handle, UInt64(range.count), range.lowerBound, nbd_completion_callback(), 0)
    }
  }

  private func request(at offset: UInt64, _ call: () -> Int64) throws(Failure) -> Request {
    let cookie = call()
    guard cookie >= 0 else { throw failure(Refusal(), at: offset) }
    return Request(cookie: UInt64(cookie), offset: offset)
  }

  /// Waits for the reply to a request; call it once.
  package func wait(for request: Request) throws(Failure) {
    _ = try isCarriedOut(request, tolerating: [])
  }

  /// Waits for the reply to a request to zero a range; call it once.
  ///
  /// - Returns: false if the server does not support it, and zeros must be written.
  package func waitForZeros(_ request: Request) throws(Failure) -> Bool {
    // The errors of servers for a command that they, or their storage, do not support.
    try isCarriedOut(request, tolerating: [EINVAL, ENOTSUP])
  }

  private func isCarriedOut(_ request: Request, tolerating: [Int32]) throws(Failure) -> Bool {
    do throws(Refusal) {
      while try !isAnswered(request) {
        guard unsafe nbd_poll(handle, -1) < 0 else { continue }
        let refusal = Refusal()
        // The connection is lost, but the reply may have arrived before.
        guard (try? isAnswered(request)) == true else { throw refusal }
      }
      return true
    } catch {
      if tolerating.contains(error.code), isAlive { return false }
      throw failure(error, at: request.offset)
    }
  }

  private func isAnswered(_ request: Request) throws(Refusal) -> Bool {
    let answer = unsafe nbd_aio_command_completed(handle, request.cookie)
    guard answer >= 0 else { throw Refusal() }
    return answer == 1
  }

  /// Transfers what is possible without waiting.
  package func nudge() throws(Failure) {
    guard unsafe nbd_poll(handle, 0) >= 0 else {
      throw Failure(.inputOutput, "\(uri): \(Refusal().words)")
    }
  }

  private func failure(_ refusal: Refusal, at offset: UInt64) -> Failure {
    Failure(.inputOutput, "\(uri): at byte \(offset): \(refusal.words)")
  }

  // MARK: Holes

  /// A range of an export, as the server describes it.
  package struct Stretch {
    package var length: UInt64
    /// Whether it certainly reads as zeros. A hole alone does not: it may contain any data.
    package var isZero: Bool
  }

  /// Queries how a part of the export is allocated.
  ///
  /// - Returns: ranges from `range`'s start on, which may end before or after its end; nil if the
  ///   server returns no answer.
  /// - Throws: if the connection is unusable after the answer.
  package func allocation(of range: Range<UInt64>) throws(Failure) -> [Stretch]? {
    final class Answer { var stretches: [Stretch] = [] }
    let answer = Answer()
    let start = range.lowerBound
    // libnbd frees this when the request ends, even with an error.
    let retained = unsafe Unmanaged.passRetained(answer)
    let callback = unsafe nbd_extent_callback(
      callback: { data, context, _, entries, count, _ in
        guard let data = unsafe data, let context = unsafe context, let entries = unsafe entries,
          unsafe strcmp(context, NBDClient.context) == 0
        else { return 0 }
        let answer = unsafe Unmanaged<Answer>.fromOpaque(data).takeUnretainedValue()
        // Pairs of a length and flags.
        for index in stride(from: 0, to: count - 1, by: 2) {
          answer.stretches.append(
            Stretch(
              length: UInt64(unsafe entries[index]),
              isZero: unsafe entries[index + 1] & UInt32(LIBNBD_STATE_ZERO) != 0))
        }
        return 0
      },
      user_data: retained.toOpaque(),
      free: { data in
        if let data = unsafe data { unsafe Unmanaged<Answer>.fromOpaque(data).release() }
      })
    guard unsafe nbd_block_status(handle, UInt64(range.count), start, callback, 0) == 0 else {
      let refusal = Refusal()
      guard isAlive else { throw failure(refusal, at: start) }
      return nil
    }
    return answer.stretches
  }

  // MARK: The end

  /// Makes the server flush all written data to its storage.
  package func flush() throws(Failure) {
    guard unsafe nbd_flush(handle, 0) == 0 else {
      throw Failure(.inputOutput, "\(uri): \(Refusal().words)")
    }
  }

  /// Disconnects from the server; all requests must have been answered.
  package func close() {
    // All data is complete: it does not matter if a server closes the connection early.
    unsafe _ = nbd_shutdown(handle, 0)
  }
}
