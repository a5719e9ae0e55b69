// SPDX-License-Identifier: Apache-2.0

internal import CZlib
internal import FilterIO
internal import SystemPackage

/// The content of gzip members, with their checksums and lengths checked.
@safe final class GzipSource: ByteSource, @unchecked Sendable {
  // zlib keeps a pointer to the stream itself, so that it must not move.
  private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
  private let source: any ByteSource
  private let name: String
  private let input: Buffer
  private var unread = 0..<0
  private var isInMember = true

  init(_ source: any ByteSource, name: String) throws {
    input = try Buffer(capacity: 1 << 18)
    self.source = source
    self.name = name
    unsafe stream.initialize(to: z_stream())
    // 15: the largest window; 16: gzip and nothing else.
    let code = unsafe inflateInit2_(
      stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard code == Z_OK else { throw Failure(.general, "zlib", .noMemory) }
  }

  deinit {
    unsafe inflateEnd(stream)
    unsafe stream.deallocate()
  }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    while true {
      if unread.isEmpty {
        unread = 0..<(try source.read(into: input, 0..<input.capacity))
        if unread.isEmpty {
          guard !isInMember else { throw Failure(.badData, "\(name): gzip: the stream is cut") }
          return 0
        }
      }
      if !isInMember {
        unsafe inflateReset(stream)
        isInMember = true
      }
      let produced = try unsafe input.withPointer(unread) { compressed in
        try unsafe buffer.withPointer(range) { target in
          unsafe stream.pointee.next_in = unsafe compressed.bindMemory(to: UInt8.self).baseAddress
          unsafe stream.pointee.avail_in = UInt32(compressed.count)
          unsafe stream.pointee.next_out = unsafe target.bindMemory(to: UInt8.self).baseAddress
          unsafe stream.pointee.avail_out = UInt32(target.count)
          let code = unsafe inflate(stream, Z_NO_FLUSH)
          if code == Z_MEM_ERROR { throw Failure(.general, "\(name): gzip", .noMemory) }
          guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else {
            let reason = unsafe stream.pointee.msg.map { unsafe String(cString: $0) }
            throw Failure(.badData, "\(name): gzip: \(reason ?? "error \(code)")")
          }
          isInMember = code != Z_STREAM_END
          let left = unsafe Int(stream.pointee.avail_in)
          unread = unread.upperBound - left..<unread.upperBound
          return unsafe target.count - Int(stream.pointee.avail_out)
        }
      }
      if produced > 0 { return produced }
    }
  }
}
