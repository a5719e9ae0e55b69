// SPDX-License-Identifier: Apache-2.0

internal import CArchive
internal import FilterIO
internal import SystemPackage

/// What libarchive's filters decompress: xz, bzip2 and lz4.
@safe final class FilterSource: ByteSource, @unchecked Sendable {
  enum Format: String {
    case xz, bzip2, lz4
  }

  /// What libarchive reads from; it holds a plain pointer to this.
  private final class Feed {
    let source: any ByteSource
    let buffer: Buffer
    var count: UInt64 = 0
    var failure: (any Error)?

    init(_ source: any ByteSource) throws {
      self.source = source
      buffer = try Buffer(capacity: 1 << 18)
    }
  }

  private let archive: OpaquePointer
  private let feed: Feed
  private let format: Format
  private let name: String
  private var isAtEnd = false

  init(_ source: any ByteSource, format: Format, name: String) throws {
    feed = try Feed(source)
    guard let archive = unsafe archive_read_new() else {
      throw Failure(.general, "libarchive", .noMemory)
    }
    unsafe self.archive = unsafe archive
    self.format = format
    self.name = name
    // This filter and no other: an archive that was compressed twice is not taken apart twice.
    let code =
      switch format {
      case .xz: ARCHIVE_FILTER_XZ
      case .bzip2: ARCHIVE_FILTER_BZIP2
      case .lz4: ARCHIVE_FILTER_LZ4
      }
    unsafe archive_read_append_filter(archive, code)
    unsafe archive_read_support_format_raw(archive)
    let opened = unsafe archive_read_open(
      archive, Unmanaged.passUnretained(feed).toOpaque(), nil,
      { _, context, block in
        guard let context = unsafe context else { return -1 }
        let feed = unsafe Unmanaged<Feed>.fromOpaque(context).takeUnretainedValue()
        do {
          let count = try feed.source.read(into: feed.buffer, 0..<feed.buffer.capacity)
          feed.count += UInt64(count)
          unsafe feed.buffer.withPointer(0..<count) { bytes in
            unsafe block?.pointee = UnsafeRawPointer(bytes.baseAddress)
          }
          return count
        } catch {
          feed.failure = error
          return -1
        }
      }, nil)
    try check(Int(opened))
    var entry: OpaquePointer?
    let next = unsafe archive_read_next_header(archive, &entry)
    isAtEnd = next == ARCHIVE_EOF
    if !isAtEnd { try check(Int(next)) }
  }

  deinit {
    unsafe archive_read_free(archive)
  }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    guard !isAtEnd else { return 0 }
    let count = unsafe buffer.withPointer(range) { bytes in
      unsafe archive_read_data(archive, bytes.baseAddress, bytes.count)
    }
    try check(count)
    if count == 0 {
      isAtEnd = true
      try checkEnd()
    }
    return count
  }

  private func check(_ code: Int) throws {
    guard code < Int(ARCHIVE_OK) else { return }
    if let failure = feed.failure { throw failure }
    // libarchive's number for this is the system's.
    if unsafe archive_errno(archive) == Errno.noMemory.rawValue {
      throw Failure(.general, "\(name): \(format.rawValue)", .noMemory)
    }
    let reason = unsafe archive_error_string(archive).map { unsafe String(cString: $0) }
    throw Failure(
      .badData, "\(name): \(format.rawValue): damaged or cut: \(reason ?? "error \(code)")")
  }

  /// libarchive ends quietly where a stream ends and something else follows.
  private func checkEnd() throws {
    if let failure = feed.failure { throw failure }
    let used = UInt64(max(0, unsafe archive_filter_bytes(archive, -1)))
    let probe = try Buffer(capacity: 4096)
    let rest = try feed.source.read(into: probe, 0..<probe.capacity)
    if used < feed.count || rest > 0 {
      throw Failure(
        .badData, "\(name): \(format.rawValue): something else follows the compressed data")
    }
  }
}
