// SPDX-License-Identifier: Apache-2.0

import Archives
import CNBDKit
import Compression
import System
import VMA

/// An archive that was checked, and its exports.
final class ServedArchive: Sendable {
  /// For messages.
  private let name: String
  private let exports: [Export]
  /// The export of clients that name none.
  let defaultExport: Export?

  /// Opens an archive and checks it as `vma-unpack -t --quick` does.
  ///
  /// - Throws: `Failure` if it cannot be served.
  init(_ parameters: Parameters) throws {
    guard let path = parameters.archive, path != "-" else {
      throw Failure(.usage, "standard input cannot be served (save the archive in a file)")
    }
    let input = try Input.open(path, index: IndexChoice(path: parameters.index, warn: Self.warn))
    name = input.name
    let watch = try input.descriptor.map { try ArchiveWatch($0) }
    if parameters.servesIncomplete { try input.useFramesBeforeDamage() }
    try TemporaryIndex.create(for: input, warn: Self.warn)
    // Until nbdkit has forked, no thread may run.
    guard let access = try input.access(cacheSize: parameters.cacheSize, threads: 0),
      let served = try input.access(cacheSize: parameters.cacheSize, threads: parameters.threads)
    else {
      throw Failure(
        .badData,
        "\(name): cannot be read at any offset (decompress it, or compress it again with zstd)")
    }
    let reader = try ArchiveReader(PartSource(access, 0..<access.size), name: name)
    let devices = reader.header.devices
    let index: ArchiveIndex
    do {
      index = try Self.completeIndex(access, reader)
    } catch let failure as Failure where parameters.servesIncomplete && failure.status == .badData {
      Self.warn(failure.message)
      index = try ArchiveIndex(remainsOf: access, reader: reader, devices: devices)
    }
    try watch?.requireUnchanged()
    exports = devices.map { Export($0, index.reader(of: $0, in: served), watch) }
    let drives = exports.filter { !$0.device.isVMState }
    if let drive = parameters.drive {
      let id = try reader.header.requireDevice(named: drive, in: name).id
      defaultExport = exports.first { $0.device.id == id }
    } else {
      defaultExport = drives.count == 1 ? drives.first : nil
    }
    guard !exports.isEmpty else { throw Failure(.noInput, "\(name): the archive has no drives") }
  }

  private static func completeIndex(
    _ access: any RandomAccess, _ reader: ArchiveReader
  ) throws -> ArchiveIndex {
    let devices = reader.header.devices
    try reader.checkLength(size: access.size, devices: devices)
    let index = try ArchiveIndex(access, reader: reader, devices: devices)
    try index.requireComplete(devices)
    return index
  }

  /// Prints a warning. nbdkit has no function for that.
  private static func warn(_ message: String) {
    let line = "nbdkit: warning: \(String(printable: message.utf8))\n"
    // If standard error is closed, there is nobody to warn.
    try? Descriptor.standardError.write(Array(line.utf8))
  }

  /// Adds all exports that have a usable name to the list for a client.
  func list(in exports: OpaquePointer?) throws -> Int32 {
    for export in self.exports {
      guard let name = export.exportName else { continue }
      let result = try unsafe nbdkit_add_export(
        exports, Service.keep(name), Service.keep(Array(export.description.utf8)))
      guard result == 0 else { return -1 }
    }
    return 0
  }

  /// The export that a client requests; an empty name stands for the default.
  func export(named name: [UInt8]) throws -> Export {
    guard !name.isEmpty else {
      guard let defaultExport else {
        throw Failure(
          .usage, "\(self.name): several drives (name one as the export, or with drive=: \(names))")
      }
      return defaultExport
    }
    let match =
      exports.first { $0.device.name == name }
      ?? exports.first { $0.device.name == Array("drive-".utf8) + name }
    guard let match else {
      let text = ArchiveHeader.list([name])
      throw Failure(.noInput, "\(self.name): no such drive: \(text) (available: \(names))")
    }
    return match
  }

  private var names: String { ArchiveHeader.list(exports.map(\.device.name)) }
}
