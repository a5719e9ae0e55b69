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
      vma-unpack -l [--json | --pve] [ARCHIVE]
      vma-unpack -t [--quick] [ARCHIVE]
      """,
    discussion: """
      ARCHIVE is a file or - (standard input), compressed or not. Examples:

        vma-unpack -C /restore backup.vma.zst
        ssh nas cat vm.vma.zst | vma-unpack -m scsi0=/dev/vg/disk
      """,
    version: "vma-unpack \(toolsVersion)")

  @Option(
    name: [.customShort("C", allowingJoined: true), .long],
    help: ArgumentHelp("Write files there (default: here).", valueName: "dir"),
    completion: .directory)
  var directory: String?

  @Option(
    name: [.customShort("d", allowingJoined: true), .long],
    help: ArgumentHelp("Restore only this drive.", valueName: "drive"),
    completion: .members(withConfigs: false) { try ArchiveHeader(ofFile: $0) })
  var drive: [String] = []

  @Option(
    name: [.customShort("m", allowingJoined: true), .long],
    help: ArgumentHelp(
      "Restore this drive into an existing file, block device or NBD export (URI).",
      valueName: "drive=path"),
    completion: .file())
  var map: [String] = []

  @Flag(help: "Targets of --map hold only zeros; write none there.")
  var targetIsZero = false

  @Flag(help: "Restore no configuration files.")
  var noConfigs = false

  @Flag(name: .shortAndLong, help: "Replace files that exist; take devices in use.")
  var force = false

  @Flag(name: .shortAndLong, help: "List what is in the archive.")
  var list = false

  @Flag(help: "List as JSON.")
  var json = false

  @Flag(help: "List in the format of the reference tool.")
  var pve = false

  @Flag(name: .shortAndLong, help: "Test the archive and write nothing.")
  var test = false

  @Flag(help: "Test headers and sizes only, where the archive is seekable.")
  var quick = false

  @Flag(help: "Restore what a damaged archive still holds.")
  var salvage = false

  @Option(
    help: ArgumentHelp("Write a map of what was lost of each disk there.", valueName: "dir"),
    completion: .directory)
  var lost: String?

  @OptionGroup var common: CommonOptions

  @Argument(help: "The archive; - is standard input.", completion: .file())
  var archive: String?

  func filter() throws {
    try checkOptions()
    let input = try Input.open(archive, log: salvage ? DamageLog() : nil)
    let reader = try ArchiveReader(
      input.source, name: input.name, keepsData: !test, salvagesHeader: salvage)
    if list {
      try Listing(reader.header).write(json ? .json : pve ? .pve : .text)
    } else if test {
      try runTest(input, reader)
    } else {
      try Restore(self, input, reader).run()
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
    try refuse(targetIsZero && map.isEmpty, "--target-is-zero requires --map")
    try refuse(lost != nil && !salvage, "--lost requires --salvage")
    let writes =
      directory != nil || !drive.isEmpty || !map.isEmpty || force || noConfigs || salvage
    try refuse(
      (list || test) && writes,
      "--list and --test cannot be combined with an option that selects or writes files")
  }

  private func runTest(_ input: Input, _ reader: ArchiveReader) throws {
    let devices = reader.header.devices
    if let file = input.file {
      try reader.checkLength(fileSize: try file.size(), devices: devices)
    }
    var census: ClusterCensus
    var extentCount = 0
    if quick, let file = input.file {
      let index = try ArchiveIndex(file, reader: reader, devices: [])
      census = index.census
      extentCount = index.extentCount
    } else {
      while let extent = try reader.next() {
        extentCount += 1
        reader.recycle(extent)
      }
      census = reader.census
    }
    try census.requireComplete(devices, in: input.name)
    if common.verbose {
      let size = devices.reduce(0) { $0 + census.length(of: $1) }
      Console.error(
        "\(input.name): complete: \(devices.count) \(devices.count == 1 ? "drive" : "drives"), "
          + "\(ByteCount(size)), \(extentCount) extents, \(Progress.current.rate(of: size))")
    }
  }
}
