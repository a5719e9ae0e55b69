// SPDX-License-Identifier: Apache-2.0

import Archives
import ArgumentParser
import Command
import Compression
import Files
import System
import Tar
import VMA

extension TarFormat: ExpressibleByArgument {}

/// The members of the tar, and their names.
enum Layout: String, CaseIterable, ExpressibleByArgument {
  case plain, pve
}

struct VMAToTar: Filter {
  static let configuration = CommandConfiguration(
    commandName: "vma-to-tar",
    abstract: "Convert a VMA archive to a tar archive.",
    usage: """
      vma-to-tar [-d DRIVE]... [--format FORMAT] [--no-sparse]
                 [--layout LAYOUT] [--prefix DIR] [--tmpdir DIR]
                 [-o FILE [-f]] [ARCHIVE]
      """,
    discussion: """
      ARCHIVE is a file or an NBD URI, compressed or not, or - for standard
      input. Examples:

        vma-to-tar backup.vma.zst | tar -xf -
        vma-to-tar --no-sparse backup.vma | busybox tar -x
      """,
    version: "vma-to-tar \(toolsVersion)")

  @Option(
    name: [.customShort("d", allowingJoined: true), .long],
    help: ArgumentHelp("Convert only DRIVE (repeatable).", valueName: "DRIVE"),
    completion: .members(withConfigs: false) { try ArchiveHeader(ofFile: $0) })
  var drive: [String] = []

  @Option(
    help: ArgumentHelp("Write the tar format FORMAT; default: pax.", valueName: "FORMAT"))
  var format: TarFormat?

  @Flag(help: "Store zeros instead of holes.")
  var noSparse = false

  @Option(
    help: ArgumentHelp(
      "Arrange members as LAYOUT; pve: for qmrestore.", valueName: "LAYOUT"))
  var layout: Layout = .plain

  @Option(help: ArgumentHelp("Prepend DIR and a slash to all names.", valueName: "DIR"))
  var prefix: String?

  @OptionGroup var buffer: BufferOptions

  @OptionGroup var destination: OutputOptions

  @OptionGroup var index: IndexOptions

  @OptionGroup var threading: ThreadOptions

  @OptionGroup var common: CommonOptions

  @Argument(
    help: ArgumentHelp("Archive to read; - for standard input.", valueName: "ARCHIVE"),
    completion: .file())
  var archive: String?

  var allowsDeviceInUse: Bool { destination.force }

  func filter() throws {
    try checkOptions()
    let input = try Input.open(
      archive, threads: threading.count,
      index: IndexChoice(path: index.indexFile, warn: Console.warn))
    let reader = try ArchiveReader(input.source, name: input.name)
    let members = try TarMembers(
      reader.header, drives: drive, layout: layout, prefix: prefix, archive: input.name)
    try checkFits(members, reader.header)

    // All headers of a seekable archive are checked before anything is written.
    let devices = members.disks.map(\.device)
    reader.checkedDevices = devices
    let whole = try ArchiveIndex.forWhole(devices, of: input, reader)
    if let whole { Progress.current.restart(expecting: whole.access.size) }

    let output = try destination.open(atLeast: leastSize(of: members))
    let tar = try TarWriter(
      output.descriptor, format: tarFormat, modificationTime: reader.header.creationTime)
    do {
      for config in members.configs { try tar.add(name: config.name, config.content) }
      if let whole {
        for disk in members.disks {
          try add(whole.index.disk(disk.device, in: whole.access), disk.name, to: tar)
        }
        try whole.index.digestCheck?.finish()
      } else {
        try stream(members.disks, input, reader, to: tar)
      }
      try tar.finish()
    } catch {
      tar.breakOff()
      throw error
    }
    try output.commit()
    if common.verbose {
      let size = devices.reduce(0) { $0 + $1.size }
      Console.error(
        "\(Counted(devices.count, "drive")), \(ByteCount(size)), "
          + Progress.current.rate(of: size))
    }
  }

  private var tarFormat: TarFormat { format ?? (layout == .pve ? .gnutar : .pax) }

  /// Whether a member is sparse. If a name is not valid text, libarchive counts its bytes
  /// incorrectly and truncates the name of a sparse member.
  private func isSparse(_ name: [UInt8]) -> Bool {
    tarFormat == .pax && layout == .plain && !noSparse
      && (name.count <= 90 || String(validating: name, as: UTF8.self) != nil)
  }

  private func checkOptions() throws {
    if layout == .pve {
      guard drive.isEmpty, prefix == nil else {
        throw Failure(.usage, "--layout pve cannot be combined with --drive or --prefix")
      }
      guard format == nil || format == .gnutar else {
        throw Failure(.usage, "--layout pve requires --format gnutar")
      }
    }
    if let prefix, prefix.isEmpty { throw Failure(.usage, "--prefix is empty") }
  }

  /// The minimum size of the tar in bytes.
  private func leastSize(of members: TarMembers) -> UInt64 {
    members.disks.reduce(0) { sum, disk in
      disk.device.isVMState || isSparse(disk.name) ? sum : sum + 512 + disk.device.size
    }
  }

  /// Checks that the format supports all members, before anything is written.
  private func checkFits(_ members: TarMembers, _ header: ArchiveHeader) throws {
    func refuse(_ what: String) -> Failure {
      Failure(.usage, "\(what) does not fit in \(tarFormat.rawValue) (use --format pax or gnutar)")
    }
    if let limit = tarFormat.largestMember {
      for disk in members.disks where disk.device.size > limit {
        let name = ArchiveHeader.list([disk.device.name])
        throw refuse("\(name), of \(disk.device.size) bytes,")
      }
    }
    if let limit = tarFormat.longestName {
      for name in members.configs.map(\.name) + members.disks.map(\.name) where name.count > limit {
        throw refuse("the name \(ArchiveHeader.list([name]))")
      }
    }
    if tarFormat == .pax {
      // Names in pax are text, and readers normalize it.
      var names: [String: [UInt8]] = [:]
      for name in members.configs.map(\.name) + members.disks.map(\.name) {
        guard let text = String(validating: name, as: UTF8.self),
          let other = names.updateValue(name, forKey: text)
        else { continue }
        throw Failure(
          .usage,
          "\(ArchiveHeader.list([other, name])): the names differ only in Unicode normalization, "
            + "and some pax readers create one file for both (use --format gnutar)")
      }
    }
    if let times = tarFormat.times, !times.contains(header.creationTime) {
      throw refuse("the time \(header.creationTime)")
    }
  }

  /// The members of an archive from a pipe: a plain one is streamed as its data arrives; a sparse
  /// one needs its map, and vmstate its length, before the first byte.
  private func stream(
    _ disks: [TarMembers.Disk], _ input: Input, _ reader: ArchiveReader, to tar: TarWriter
  ) throws {
    let reorder = try StreamReorder(reader, devices: disks.map(\.device), directory: buffer.tmpdir)
    for disk in disks {
      if isSparse(disk.name) || disk.device.isVMState {
        guard let whole = try reorder.collect(disk.device) else { break }
        try add(whole, disk.name, to: tar)
      } else {
        try tar.begin(name: disk.name, size: disk.device.size)
        _ = try reorder.stream(disk.device, to: tar)
        guard reader.census.isComplete(disk.device) else { break }
        try tar.end()
      }
    }
    try reorder.finish()
    try reader.requireComplete(disks.map(\.device))
  }

  private func add(_ disk: OrderedDisk, _ name: [UInt8], to tar: TarWriter) throws {
    if let limit = tarFormat.largestMember, disk.size > limit {
      throw Failure(
        .usage, "vmstate, of \(disk.size) bytes, does not fit in \(tarFormat.rawValue)")
    }
    let map = isSparse(name) ? SparseMap(disk, limit: TarWriter.largestSparseMap).ranges : nil
    try tar.begin(name: name, size: disk.size, stored: map)
    _ = try disk.emit(to: tar)
    try tar.end()
  }
}
