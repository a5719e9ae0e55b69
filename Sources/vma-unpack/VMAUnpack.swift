// SPDX-License-Identifier: Apache-2.0

import Archives
import ArgumentParser
import Command
import Compression
import System
import VMA

struct VMAUnpack: Filter {
  static let configuration = CommandConfiguration(
    commandName: "vma-unpack",
    abstract: "Restore, list or test a VMA archive.",
    usage: """
      vma-unpack [-C DIR] [-d DRIVE]... [-m DRIVE=PATH]... [ARCHIVE]
      vma-unpack --only DRIVE=PATH... [ARCHIVE]
      vma-unpack -l [--json | --pve] [ARCHIVE]
      vma-unpack -t [--quick | --index] [ARCHIVE]
      """,
    discussion: """
      ARCHIVE is a file or an NBD URI, compressed or not, or - for standard
      input. Examples:

        vma-unpack -C /restore backup.vma.zst
        ssh nas cat vm.vma.zst | vma-unpack --only scsi0=/dev/vg/disk
      """,
    version: "vma-unpack \(toolsVersion)")

  @Option(
    name: [.customShort("C", allowingJoined: true), .long],
    help: ArgumentHelp("Create files in DIR (default: current directory).", valueName: "DIR"),
    completion: .directory)
  var directory: String?

  @Option(
    name: [.customShort("d", allowingJoined: true), .long],
    help: ArgumentHelp("Restore only DRIVE (repeatable).", valueName: "DRIVE"),
    completion: .members(withConfigs: false) { try ArchiveHeader(ofFile: $0) })
  var drive: [String] = []

  @Option(
    name: [.customShort("m", allowingJoined: true), .long],
    help: ArgumentHelp(
      "Restore DRIVE into an existing file, device or NBD export.", valueName: "DRIVE=PATH"),
    completion: .drivePath { try ArchiveHeader(ofFile: $0) })
  var map: [String] = []

  @Option(
    help: ArgumentHelp(
      "Restore DRIVE into PATH, as --map does, and nothing else.", valueName: "DRIVE=PATH"),
    completion: .drivePath { try ArchiveHeader(ofFile: $0) })
  var only: [String] = []

  @Flag(help: "Write no zeros to targets; they already read as zeros.")
  var targetIsZero = false

  @Flag(help: "Do not restore configuration files.")
  var noConfigs = false

  @Flag(name: .shortAndLong, help: "Overwrite existing files; allow devices in use.")
  var force = false

  @Flag(name: .shortAndLong, help: "List the contents of the archive.")
  var list = false

  @Flag(help: "With --list: print JSON.")
  var json = false

  @Flag(help: "With --list: print the format of the original tool.")
  var pve = false

  @Flag(name: .shortAndLong, help: "Test the archive; write nothing.")
  var test = false

  @Flag(help: "With --test: check only headers, if seekable.")
  var quick = false

  @Flag(
    name: .customLong("index"),
    help: "With --test: also create an index, for random access.")
  var createsIndex = false

  @OptionGroup var index: IndexOptions

  @Flag(help: "Restore what is left of a damaged archive.")
  var salvage = false

  @Option(
    help: ArgumentHelp("With --salvage: write a map of each disk to DIR.", valueName: "DIR"),
    completion: .directory)
  var lost: String?

  @OptionGroup var threading: ThreadOptions

  @OptionGroup var common: CommonOptions

  @Argument(
    help: ArgumentHelp("Archive to read; - for standard input.", valueName: "ARCHIVE"),
    completion: .file())
  var archive: String?

  func filter() throws {
    try checkOptions()
    let input = try Input.open(
      archive, log: salvage ? DamageLog() : nil, threads: threading.count,
      index: createsIndex ? nil : IndexChoice(path: index.indexFile, warn: Console.warn))
    let newIndex = createsIndex ? try NewIndex(input, archive: archive, index.indexFile) : nil
    let reader = try ArchiveReader(
      newIndex?.recording ?? input.source, name: input.name, keepsData: !test,
      salvagesHeader: salvage)
    if list {
      try Listing(reader.header).write(json ? .json : pve ? .pve : .text)
    } else if test {
      try runTest(input, reader)
      if let summary = try newIndex?.finish(reader.header), common.verbose {
        Console.error(summary)
      }
    } else {
      try Restore(restoreOptions(), input, reader).run()
    }
  }

  private func checkOptions() throws {
    func refuse(_ condition: Bool, _ message: String) throws {
      if condition { throw Failure(.usage, message) }
    }
    try refuse(list && test, "--list and --test cannot be combined")
    try refuse(json && pve, "--json and --pve cannot be combined")
    try refuse((json || pve) && !list, "--json and --pve require --list")
    try refuse(quick && !test, "--quick requires --test")
    try refuse(createsIndex && !test, "--index requires --test")
    try refuse(createsIndex && quick, "--index cannot be combined with --quick")
    try refuse(
      targetIsZero && map.isEmpty && only.isEmpty, "--target-is-zero requires --map or --only")
    try refuse(lost != nil && !salvage, "--lost requires --salvage")
    try refuse(
      !only.isEmpty && (directory != nil || !drive.isEmpty || !map.isEmpty),
      "--only cannot be combined with --directory, --drive or --map (repeat --only for more drives)"
    )
    let writes =
      directory != nil || !drive.isEmpty || !map.isEmpty || !only.isEmpty || force || noConfigs
      || salvage
    try refuse(
      (list || test) && writes,
      "--list and --test cannot be combined with an option that selects or writes files")
  }

  private func restoreOptions() throws -> RestoreOptions {
    // `--only` restores the drives that it maps, and nothing else.
    let maps = try map.map { try Self.target($0, "--map") }
    let onlyMaps = try only.map { try Self.target($0, "--only") }
    return RestoreOptions(
      drives: drive + onlyMaps.map(\.drive), targets: maps + onlyMaps, targetIsZero: targetIsZero,
      restoresConfigs: !noConfigs && only.isEmpty, directory: directory, replaces: force,
      salvages: salvage, mapDirectory: lost, printsSummary: common.verbose)
  }

  private static func target(
    _ argument: String, _ option: String
  ) throws -> (drive: String, path: String) {
    let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
      throw Failure(.usage, "\(option): '\(argument)' is not DRIVE=PATH")
    }
    return (String(parts[0]), String(parts[1]))
  }

  private func runTest(_ input: Input, _ reader: ArchiveReader) throws {
    let devices = reader.header.devices
    let access = quick ? try input.access : nil
    if let size = access?.size ?? input.size {
      try reader.checkLength(size: size, devices: devices)
    }
    var census: ClusterCensus
    var extentCount = 0
    var check = "data is not read"
    if let access {
      let index = try ArchiveIndex(access, reader: reader, devices: [])
      census = index.census
      extentCount = index.extentCount
      try index.requireComplete(devices)
    } else {
      while let extent = try reader.next() {
        extentCount += 1
        reader.recycle(extent)
      }
      census = reader.census
      try reader.requireComplete(devices)
      check = Self.describe(reader.coverage)
    }
    if common.verbose {
      let size = devices.reduce(0) { $0 + census.length(of: $1) }
      Console.error(
        "\(input.name): complete: \(Counted(devices.count, "drive")), "
          + "\(ByteCount(size)), \(Counted(extentCount, "extent")), \(check), "
          + Progress.current.rate(of: size))
    }
  }

  private static func describe(_ coverage: (compared: UInt64, total: UInt64)) -> String {
    let (compared, total) = coverage
    if total == 0 { return "no stored data" }
    if compared == total { return "digests match all data (\(ByteCount(total)))" }
    return compared == 0
      ? "no digests of the data (\(ByteCount(total)))"
      : "digests match \(ByteCount(compared)) of \(ByteCount(total)) of data"
  }
}
