// SPDX-License-Identifier: Apache-2.0

import CNBDKit
import Glibc
import Synchronization
import System

/// What the callbacks share. nbdkit calls those that configure it one after another, and the others
/// from any thread.
enum Service {
  /// In bytes; nbdkit adds its name and that of the plugin. Log daemons truncate longer lines.
  private static let longestMessage = 450

  private static let parameters = Mutex(Parameters())
  private static let opened = Mutex<ServedArchive?>(nil)

  static func set(_ key: String, to value: String) throws {
    try parameters.withLock { try $0.set(key, to: value) }
  }

  static func requireArchive() throws {
    guard parameters.withLock({ $0.archive }) != nil else {
      throw Failure(.usage, "no archive given (usage: nbdkit vma ARCHIVE)")
    }
  }

  /// Opens and checks the archive. It starts no thread, because nbdkit forks after that.
  static func openArchive() throws {
    let archive = try ServedArchive(parameters.withLock { $0 })
    opened.withLock { $0 = archive }
  }

  static func closeArchive() { opened.withLock { $0 = nil } }

  static func archive() throws -> ServedArchive {
    guard let archive = opened.withLock({ $0 }) else {
      throw Failure(.general, "the archive is not open")
    }
    return archive
  }

  /// Runs the body of a callback, and reports its error to nbdkit.
  ///
  /// - Parameter failed: the result of the callback after an error.
  static func attempt<Result>(_ failed: Result, _ body: () throws -> Result) -> Result {
    do {
      return try body()
    } catch {
      let message = (error as? Failure)?.message ?? "\(error)"
      unsafe nbdkit_report_error(String(printable: message.utf8, atMost: longestMessage))
      nbdkit_set_error(EIO)
      return failed
    }
  }

  /// The name of the export that the client of the current connection requests.
  static func requestedName() -> [UInt8] {
    guard let name = unsafe nbdkit_export_name() else { return [] }
    return unsafe Array(UnsafeRawBufferPointer(start: name, count: strlen(name)))
  }

  /// Text that nbdkit releases when it no longer needs it.
  static func keep(_ text: [UInt8]) throws -> UnsafePointer<CChar> {
    let kept = unsafe (text + [0]).withUnsafeBufferPointer { bytes in
      unsafe bytes.withMemoryRebound(to: CChar.self) { text in
        unsafe nbdkit_strdup_intern(text.baseAddress)
      }
    }
    guard let kept = unsafe kept else { throw Failure(.general, "no memory left") }
    return unsafe kept
  }
}
