// SPDX-License-Identifier: Apache-2.0

import CArchive
package import System

/// Writes a tar archive with libarchive: members with owner 0 and mode 0600, so that the same
/// content results in the same archive.
@safe package final class TarWriter {
  /// The maximum number of sparse regions of a member; libarchive uses about 176 bytes for each.
  package static let largestSparseMap = 65536

  private final class Sink {
    let descriptor: Descriptor
    var failure: (any Error)?
    init(_ descriptor: Descriptor) { self.descriptor = descriptor }
  }

  private let archive: OpaquePointer
  private let sink: Sink
  private let modificationTime: Int64
  private var isInsideMember = false
  /// The buffer for zeros. libarchive requires data for holes, too, but never reads it, so no page
  /// of this is ever used.
  private let zeros: Buffer

  /// The end of the year 9999. GNU tar treats times far beyond as damage.
  private static let latestTime: Int64 = 253_402_300_799

  /// - Parameter modificationTime: of all members, in seconds since 1970; replaced by the nearest
  ///   time that readers accept.
  package init(_ descriptor: Descriptor, format: TarFormat, modificationTime: Int64) throws {
    zeros = try Buffer(capacity: 1 << 26)
    guard let archive = unsafe archive_write_new() else {
      throw Failure(.general, "libarchive: out of memory")
    }
    unsafe self.archive = unsafe archive
    self.modificationTime = min(max(modificationTime, -Self.latestTime), Self.latestTime)
    sink = Sink(descriptor)
    let code =
      switch format {
      case .pax: unsafe archive_write_set_format_pax(archive)
      case .gnutar: unsafe archive_write_set_format_gnutar(archive)
      case .ustar: unsafe archive_write_set_format_ustar(archive)
      }
    try check(Int(code))
    // No blocking: data is written from our buffers to the descriptor without being copied.
    unsafe archive_write_set_bytes_per_block(archive, 0)
    try check(
      Int(
        unsafe archive_write_open(
          archive, Unmanaged.passUnretained(sink).toOpaque(), nil,
          { archive, context, bytes, count in
            guard let context = unsafe context, let bytes = unsafe bytes else { return -1 }
            let sink = unsafe Unmanaged<Sink>.fromOpaque(context).takeUnretainedValue()
            do {
              try unsafe sink.descriptor.write(
                UnsafeRawBufferPointer(start: bytes, count: count))
              return count
            } catch {
              sink.failure = error
              return -1
            }
          }, nil)))
  }

  deinit {
    // Without this, freeing an archive after a failure would write its end.
    unsafe archive_write_fail(archive)
    unsafe archive_write_free(archive)
  }

  private func check(_ code: Int, isAboutName: Bool = false) throws {
    // A warning means that a name has characters outside the locale; its bytes are written.
    guard code < Int(isAboutName ? ARCHIVE_WARN : ARCHIVE_OK) else { return }
    if let failure = sink.failure { throw failure }
    let reason = unsafe archive_error_string(archive).map { unsafe String(cString: $0) }
    throw Failure(.general, "libarchive: \(reason ?? "error \(code)")")
  }

  /// Starts a member.
  ///
  /// - Parameters:
  ///   - name: any bytes except NUL.
  ///   - size: bytes that will follow, including holes.
  ///   - stored: the ranges that are not holes, ascending; nil for a member without a sparse map.
  package func begin(name: [UInt8], size: UInt64, stored: [Range<UInt64>]? = nil) throws {
    guard let entry = unsafe archive_entry_new2(archive) else {
      throw Failure(.general, "libarchive: out of memory")
    }
    defer { unsafe archive_entry_free(entry) }
    unsafe (name.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer { name in
      unsafe archive_entry_set_pathname(entry, name.baseAddress)
    }
    unsafe archive_entry_set_filetype(entry, UInt32(0o100000))
    unsafe archive_entry_set_perm(entry, 0o600)
    unsafe archive_entry_set_size(entry, Int64(size))
    unsafe archive_entry_set_mtime(entry, time_t(modificationTime), 0)
    unsafe archive_entry_set_uid(entry, 0)
    unsafe archive_entry_set_gid(entry, 0)
    if let stored {
      for range in stored {
        unsafe archive_entry_sparse_add_entry(entry, Int64(range.lowerBound), Int64(range.count))
      }
      // Without any region, all the zeros would be written.
      if stored.isEmpty { unsafe archive_entry_sparse_add_entry(entry, Int64(size), 0) }
    }
    isInsideMember = true
    try check(Int(unsafe archive_write_header(archive, entry)), isAboutName: true)
  }

  /// A complete small member.
  package func add(name: [UInt8], _ content: [UInt8]) throws {
    try begin(name: name, size: UInt64(content.count))
    let buffer = try Buffer(capacity: content.count)
    buffer.copy(content, to: 0)
    try write(buffer, 0..<content.count)
    try end()
  }

  package func write(_ buffer: Buffer, _ range: Range<Int>) throws {
    guard !range.isEmpty else { return }
    let written = unsafe buffer.withPointer(range) { bytes in
      unsafe archive_write_data(archive, bytes.baseAddress, bytes.count)
    }
    try check(written)
    guard written == range.count else {
      throw Failure(.general, "libarchive: accepted \(written) of \(range.count) bytes")
    }
  }

  /// Zeros, inside of holes or not.
  package func write(zeros count: UInt64) throws {
    var rest = count
    while rest > 0 {
      let part = Int(min(rest, UInt64(zeros.capacity)))
      try write(zeros, 0..<part)
      rest -= UInt64(part)
    }
  }

  /// Ends a member.
  package func end() throws {
    try check(Int(unsafe archive_write_finish_entry(archive)))
    isInsideMember = false
  }

  /// Ensures, after a failure, that readers fail, too. They detect a truncated member, but not all
  /// of them detect missing end-of-archive blocks: GNU tar exits with 0.
  package func breakOff() {
    guard !isInsideMember, sink.failure == nil else { return }
    // An error here cannot be handled any more.
    try? begin(name: Array("INCOMPLETE".utf8), size: 1)
  }

  /// Ends the archive by writing the end-of-archive blocks.
  package func finish() throws {
    try check(Int(unsafe archive_write_close(archive)))
  }
}
