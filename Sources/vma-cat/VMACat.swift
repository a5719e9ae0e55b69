// SPDX-License-Identifier: Apache-2.0

import Archives
import ArgumentParser
import Command
import Compression
import Disks
import Files
import System
import VMA

struct VMACat: Filter {
  static let configuration = CommandConfiguration(
    commandName: "vma-cat",
    abstract: "Write one disk or configuration file of a VMA archive to standard output.",
    usage: "vma-cat [--offset BYTES] [--length BYTES] ARCHIVE [MEMBER] > disk.raw",
    discussion: """
      A disk is written front to back, whatever its order in the archive. Examples:

        vma-cat backup.vma.zst scsi0 > disk.raw
        zstdcat backup.vma.zst | vma-cat - qemu-server.conf
      """,
    version: "vma-cat \(toolsVersion)")

  @Option(
    help: ArgumentHelp("Start BYTES into the member.", valueName: "BYTES"))
  var offset: String?

  @Option(
    help: ArgumentHelp("Write at most BYTES.", valueName: "BYTES"))
  var length: String?

  @OptionGroup var index: IndexOptions

  @OptionGroup var buffer: BufferOptions

  @OptionGroup var threading: ThreadOptions

  @OptionGroup var common: CommonOptions

  @Argument(
    help: ArgumentHelp("Archive to read; - for standard input.", valueName: "ARCHIVE"),
    completion: .file())
  var archive: String

  @Argument(
    help: ArgumentHelp(
      "Drive or configuration file (default: the only drive).", valueName: "MEMBER"),
    completion: .members(withConfigs: true) { try ArchiveHeader(ofFile: $0) })
  var member: String?

  func filter() throws {
    let offset = try Self.bytes(offset, option: "--offset") ?? 0
    let length = try Self.bytes(length, option: "--length")
    let input = try Input.open(
      archive, threads: threading.count,
      index: IndexChoice(path: index.indexFile, warn: Console.warn))
    let reader = try ArchiveReader(input.source, name: input.name)
    switch try find(in: reader.header, input.name) {
    case .config(let config):
      try write(config, offset: offset, length: length)
    case .device(let device):
      try write(device, input, reader, offset: offset, length: length)
    }
  }

  private static func bytes(_ argument: String?, option: String) throws -> UInt64? {
    guard let argument else { return nil }
    guard let count = ByteCount(argument: argument) else {
      throw Failure(
        .usage, "\(option): '\(argument)' is not a number of bytes (such as 512 or 64K)")
    }
    return count.bytes
  }

  private enum Member {
    case device(ArchiveHeader.Device)
    case config(ArchiveHeader.Config)
  }

  private func find(in header: ArchiveHeader, _ name: String) throws -> Member {
    if let member {
      if let device = header.devices.first(where: { $0.name == Array(member.utf8) }) {
        return .device(device)
      }
      if let config = header.config(named: member) { return .config(config) }
      if let device = header.device(named: member) { return .device(device) }
      throw Failure(
        .noInput,
        "\(name): no such drive or configuration file: \(member) (available: \(list(header)))")
    }
    let drives = header.devices.filter { !$0.isVMState }
    guard drives.count <= 1 else {
      throw Failure(.usage, "\(name): several members (name one: \(list(header)))")
    }
    guard let only = drives.first else {
      throw Failure(.noInput, "\(name): the archive has no drives")
    }
    return .device(only)
  }

  private func list(_ header: ArchiveHeader) -> String {
    ArchiveHeader.list(header.devices.map(\.name) + header.configs.map(\.name))
  }

  /// The requested range of a member.
  private func window(offset: UInt64, length: UInt64?, size: UInt64) throws -> Range<UInt64> {
    guard offset <= size else {
      throw Failure(.usage, "--offset: \(offset) is after the end of the member, at \(size)")
    }
    return offset..<offset + min(length ?? .max, size - offset)
  }

  /// The requested range of a disk, which must be complete; if other parts are missing, this warns.
  private func part(
    of device: ArchiveHeader.Device, offset: UInt64, length: UInt64?, _ census: ClusterCensus,
    _ truncation: Failure?, _ archive: String
  ) throws -> Range<UInt64> {
    guard offset > 0 || length != nil else {
      try census.requireComplete([device], in: archive)
      return 0..<census.length(of: device)
    }
    // vmstate has at least this size.
    let size = max(census.length(of: device), device.size)
    let range = try window(offset: offset, length: length, size: size)
    do {
      if let truncation { throw truncation }
      try census.requireComplete([device], in: archive)
    } catch let failure as Failure {
      guard census.has(range, of: device) else { throw failure }
      Console.warn("\(failure.message); the requested range is complete")
    }
    return range
  }

  private func write(_ config: ArchiveHeader.Config, offset: UInt64, length: UInt64?) throws {
    let range = try window(offset: offset, length: length, size: UInt64(config.data.count))
    let data = config.data[Int(range.lowerBound)..<Int(range.upperBound)]
    let output = Descriptor.standardOutput
    let text =
      output.isTerminal ? Array(String(printable: data, keepingLines: true).utf8) : Array(data)
    try output.write(text)
  }

  private func write(
    _ device: ArchiveHeader.Device, _ input: Input, _ reader: ArchiveReader, offset: UInt64,
    length: UInt64?
  ) throws {
    let output = try Output.standard().descriptor
    // The size of vmstate is known only at its end.
    let isWhole = offset == 0 && length == nil
    // Data outside of a range is not read, at least not from a file.
    reader.checkedDevices = isWhole ? [device] : []
    if !device.isVMState {
      try output.requireRoom(
        for: UInt64(window(offset: offset, length: length, size: device.size).count))
    }
    let sink = try DescriptorSink(output)
    if isWhole, let whole = try ArchiveIndex.forWhole([device], of: input, reader) {
      Progress.current.restart(expecting: whole.index.census.length(of: device))
      _ = try whole.index.disk(device, in: whole.access).emit(to: sink)
      try whole.index.digestCheck?.finish()
    } else if !isWhole, let access = try input.access {
      let index = try ArchiveIndex(
        access, reader: reader, devices: [device], toleratesTruncation: true)
      let range = try part(
        of: device, offset: offset, length: length, index.census, index.truncation, input.name)
      Progress.current.restart(expecting: UInt64(range.count))
      _ = try index.disk(device, in: access).emit(to: sink, window: range)
    } else {
      let reorder = try StreamReorder(
        reader, devices: [device], directory: buffer.tmpdir, toleratesTruncation: !isWhole)
      if device.isVMState && !isWhole {
        guard let disk = try reorder.collect(device, partly: true) else { return }
        let range = try part(
          of: device, offset: offset, length: length, reader.census, reorder.truncation, input.name)
        _ = try disk.emit(to: sink, window: range)
      } else {
        let range = try window(offset: offset, length: length, size: device.size)
        _ = try reorder.stream(device, to: sink, window: isWhole ? nil : range)
        _ = try part(
          of: device, offset: offset, length: length, reader.census, reorder.truncation, input.name)
        if isWhole { try reader.requireComplete([device]) }
      }
    }
    if common.verbose {
      let whole = device.size - min(offset, device.size)
      let size = min(length ?? whole, whole)
      Console.error("\(ByteCount(size)), \(Progress.current.rate(of: size))")
    }
  }
}
