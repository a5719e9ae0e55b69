// SPDX-License-Identifier: Apache-2.0

internal import CZstd
public import FilterIO
internal import SystemPackage

/// The content of zstd frames; skippable frames between them are passed over.
@safe public final class ZstdSource: ByteSource, @unchecked Sendable {
  private let context: OpaquePointer
  private let source: any ByteSource
  private let name: String
  private let input: Buffer
  private var unread = 0..<0
  /// Whether a frame has begun and not ended.
  private var isInFrame = false

  /// Windows up to 128 MiB are accepted: what `zstd -d` takes without being asked.
  private static let windowLog = 27

  /// - Parameter name: of the input, for messages.
  public init(_ source: any ByteSource, name: String) throws {
    input = try Buffer(capacity: 1 << 18)
    guard let context = unsafe ZSTD_createDCtx() else {
      throw Failure(.general, "zstd", .noMemory)
    }
    unsafe self.context = unsafe context
    self.source = source
    self.name = name
    _ = unsafe ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Int32(Self.windowLog))
  }

  deinit {
    unsafe ZSTD_freeDCtx(context)
  }

  public func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    while true {
      if unread.isEmpty {
        unread = 0..<(try source.read(into: input, 0..<input.capacity))
        if unread.isEmpty {
          guard !isInFrame else { throw Failure(.badData, "\(name): zstd: the last frame is cut") }
          return 0
        }
      }
      if !isInFrame { try checkWindow() }
      let produced = try unsafe input.withPointer(unread) { compressed in
        try unsafe buffer.withPointer(range) { target in
          var inBuffer = unsafe ZSTD_inBuffer(
            src: UnsafeRawPointer(compressed.baseAddress), size: compressed.count, pos: 0)
          var outBuffer = unsafe ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
          let hint = unsafe ZSTD_decompressStream(context, &outBuffer, &inBuffer)
          guard ZSTD_isError(hint) == 0 else {
            if ZSTD_getErrorCode(hint) == ZSTD_error_memory_allocation {
              throw Failure(.general, "\(name): zstd", .noMemory)
            }
            let reason = unsafe String(cString: ZSTD_getErrorName(hint))
            throw Failure(.badData, "\(name): zstd: \(reason)")
          }
          unread = unread.lowerBound + (unsafe inBuffer.pos)..<unread.upperBound
          isInFrame = hint != 0
          return unsafe outBuffer.pos
        }
      }
      if produced > 0 { return produced }
    }
  }

  /// Refuses a frame that wants a window of more than 128 MiB, and says how much it wants; libzstd
  /// would refuse it without a number. The fields are those of RFC 8878, section 3.1.1.1.
  private func checkWindow() throws {
    let wanted = 18
    if unread.count < wanted {
      input.copy(from: input, unread, to: 0)
      unread = 0..<unread.count
      unread =
        0..<unread.count
        + (try source.readFully(into: input, unread.count..<wanted))
    }
    let window: UInt64? = input.withBytes(unread) { bytes in
      guard bytes.count >= 6, bytes[0] == 0x28, bytes[1] == 0xb5, bytes[2] == 0x2f, bytes[3] == 0xfd
      else { return nil }
      let descriptor = bytes[4]
      guard descriptor & 0x20 != 0 else {
        let base = UInt64(1) << (10 + UInt64(bytes[5] >> 3))
        return base + base / 8 * UInt64(bytes[5] & 7)
      }
      // A single segment: the window is the content.
      let start = 5 + [0, 1, 2, 4][Int(descriptor & 3)]
      let length = [1, 2, 4, 8][Int(descriptor >> 6)]
      guard bytes.count >= start + length else { return nil }
      return (0..<length).reduce(0) { $0 | UInt64(bytes[start + $1]) << (8 * UInt64($1)) }
    }
    if let window, window > 1 << UInt64(Self.windowLog) {
      throw Failure(
        .badData,
        "\(name): zstd: a window of \(ByteCount(window)) is more than the 128 MiB that are allowed")
    }
  }
}
