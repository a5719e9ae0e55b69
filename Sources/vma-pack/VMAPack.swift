// SPDX-License-Identifier: Apache-2.0

import Archives
import ArgumentParser
import Command
import Compression
import Disks
import Files
import System
import SystemPackage
import VMA

struct VMAPack: Filter {
  static let configuration = CommandConfiguration(
    commandName: "vma-pack",
    abstract: "Pack disks and configuration files into a VMA archive.",
    usage: """
      vma-pack [-c [NAME=]FILE]... [-o FILE] [-z] [NAME=]SOURCE... > backup.vma
      vma-pack --events [--ack-fd N] [NAME=SOURCE]... < events > backup.vma
      """,
    discussion: """
      SOURCE is a raw image, a block device, the URI of an NBD export (nbd://,
      nbd+unix://), or, with --size, a pipe (- for standard input). Examples:

        vma-pack drive-scsi0=disk.raw | zstd > vm.vma.zst
        vma-pack -zo vm.vma.zst -c qemu-server.conf drive-scsi0=/dev/vg/disk
      """,
    version: "vma-pack \(toolsVersion)")

  @OptionGroup var configs: ConfigOptions

  @Option(
    help: ArgumentHelp("Set the size of source NAME, a pipe.", valueName: "NAME=BYTES"))
  var size: [String] = []

  @Flag(help: "Pad sources to a multiple of 512 bytes.")
  var pad = false

  @Flag(help: "Read an event stream from standard input.")
  var events = false

  @Option(help: ArgumentHelp("With --events: acknowledge on file descriptor N.", valueName: "N"))
  var ackFd: Int32?

  @OptionGroup var buffer: BufferOptions

  @OptionGroup var destination: OutputOptions

  @Flag(name: .shortAndLong, help: "Compress with zstd.")
  var zstd = false

  @Option(help: ArgumentHelp("Compress at level N (default: 3).", valueName: "N"))
  var level: Int?

  @OptionGroup var threading: ThreadOptions

  @Option(
    help: ArgumentHelp(
      "Put at most SIZE of data in a frame (default: an extent).", valueName: "SIZE"))
  var frameSize: String?

  @Option(help: ArgumentHelp("Set the UUID of the archive (default: random).", valueName: "UUID"))
  var uuid: String?

  @Option(
    help: ArgumentHelp(
      "Derive the UUID from TEXT: the same text, the same UUID.", valueName: "TEXT"))
  var uuidFrom: String?

  @Option(
    help: ArgumentHelp(
      "Set the creation time, in seconds since 1970.", valueName: "SECONDS"))
  var ctime: Int64?

  @Flag(help: "Write no digests of the disks' data.")
  var noDigest = false

  @Flag(help: "Make the archive restorable by qmrestore.")
  var pve = false

  @OptionGroup var common: CommonOptions

  @Argument(
    help: ArgumentHelp("Disk to pack, and its name in the archive.", valueName: "[NAME=]SOURCE"),
    completion: .namedFile)
  var sources: [String] = []

  var allowsDeviceInUse: Bool { destination.force }

  func filter() throws {
    try checkOptions()
    let uuid = try archiveUUID()
    let ownTime = try archiveTime()
    let operands = try namedOperands()
    let live =
      events ? try LiveDisks(operands: operands, answers: ackFd, directory: buffer.tmpdir) : nil
    let disks = try live == nil ? openDisks(operands) : []
    let devices = live?.devices ?? disks.map(\.device)
    let header = ArchiveHeader(
      uuid: uuid, creationTime: ownTime ?? live?.time ?? Host.now,
      configs: try readConfigs(devices: devices, told: live?.configs ?? []), devices: devices)
    try checkNames(header)
    try Host.requireMemory(ClusterCensus.memory(for: devices))
    // In a live backup, several extents are open.
    let queue = try ExtentQueue(
      header, writesDigests: !noDigest, count: (events ? 5 : 4) + (zstd ? threading.count : 0))

    let output = try destination.open()
    let total = devices.reduce(0) { $0 + $1.size }
    Progress.current.expect(total)
    let settings =
      zstd
      ? ZstdSettings(level: level ?? 3, threads: threading.count, frameSize: try frameLimit()) : nil
    let stream = try PackedStream(output, zstd: settings) { queue.recycle($0) }
    // The header is sent before any data is read: the receiver may wait for it.
    try stream.write(header: queue.headerBytes)

    let packer = Packer(sources: disks.map { ($0.device.id, $0.source) }, queue: queue)
    try queue.fill {
      if let live { try live.pack(into: queue) } else { try packer.run() }
    }
    var clusterCount = 0
    var dataSize: UInt64 = 0
    while let extent = try queue.next() {
      try stream.write(extent)
      clusterCount += extent.header.slots.count
      dataSize += UInt64(extent.byteCount - VMAFormat.extentHeaderSize)
    }
    try stream.finish()
    try output.commit()
    for disk in disks { disk.source.close() }
    live?.close()

    if common.verbose {
      let zeroShare =
        total == 0 ? 0 : Int(Double(total - min(dataSize, total)) / Double(total) * 100)
      Console.error(
        "\(Counted(devices.count, "disk")), \(ByteCount(total)) in "
          + "\(Counted(clusterCount, "cluster")), \(zeroShare) % zero; \(ByteCount(stream.byteCount)) written, "
          + Progress.current.rate(of: total) + (live?.summary ?? ""))
    }
  }

  /// Checks that everything packed can be unpacked into one directory.
  private func checkNames(_ header: ArchiveHeader) throws {
    do {
      try OutputName.check(
        header.configs.map(OutputName.init) + header.devices.map(OutputName.init),
        archive: "the archive")
    } catch let failure as Failure {
      throw Failure(events ? .badData : .usage, failure.message)
    }
  }

  /// The maximum content of a frame of data in bytes; 0 for one frame, nil for a frame per extent.
  private func frameLimit() throws -> Int? {
    guard let frameSize else { return nil }
    guard let size = ByteCount(argument: frameSize)?.bytes,
      size == 0 || size >= VMAFormat.blockSize
    else {
      throw Failure(
        .usage,
        "--frame-size: '\(frameSize)' is not a size of at least 4K (such as 1M), or 0")
    }
    return Int(min(size, UInt64(VMAFormat.slotsPerExtent * VMAFormat.clusterSize)))
  }

  private func checkOptions() throws {
    guard events || ackFd == nil && buffer.tmpdir == nil else {
      throw Failure(.usage, "--ack-fd and --tmpdir require --events")
    }
    guard !events || size.isEmpty && !pad else {
      throw Failure(.usage, "--events cannot be combined with --size or --pad")
    }
    guard events || !sources.isEmpty || !configs.config.isEmpty else {
      throw Failure(.usage, "nothing to pack (give a source or a configuration file)")
    }
    guard zstd || level == nil && threading.threads == nil && frameSize == nil else {
      throw Failure(.usage, "--level, --threads and --frame-size require --zstd")
    }
    guard uuid == nil || uuidFrom == nil else {
      throw Failure(.usage, "--uuid and --uuid-from cannot be combined")
    }
    if let uuidFrom, uuidFrom.isEmpty { throw Failure(.usage, "--uuid-from is empty") }
    _ = try frameLimit()
    if let level, !ZstdCompressor.levels.contains(level) {
      throw Failure(.usage, "--level must be 1 to \(ZstdCompressor.levels.upperBound)")
    }
    guard sources.count <= VMAFormat.deviceIDs.count else {
      throw Failure(.usage, "an archive holds at most \(VMAFormat.deviceIDs.count) disks")
    }
  }

  private func archiveUUID() throws -> ArchiveHeader.UUID {
    if let uuid {
      guard let uuid = ArchiveHeader.UUID(uuid) else {
        throw Failure(.usage, "--uuid: '\(uuid)' is not a UUID")
      }
      return uuid
    }
    if let uuidFrom { return ArchiveHeader.UUID(derivedFrom: uuidFrom) }
    // RFC 9562: version 4, variant 2.
    let random = UInt128.random(in: .min ... .max)
    return ArchiveHeader.UUID(random & ~(0xf << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62)
  }

  /// The time that the user requests; nil if none.
  private func archiveTime() throws -> Int64? {
    if let ctime { return ctime }
    guard let epoch = Host.environment("SOURCE_DATE_EPOCH"), !epoch.isEmpty else { return nil }
    guard let time = Int64(epoch) else {
      throw Failure(.usage, "SOURCE_DATE_EPOCH: '\(epoch)' is not a number of seconds")
    }
    return time
  }

  private func namedOperands() throws -> [(name: String, path: String)] {
    let operands = sources.enumerated().map { index, argument in
      let named = NamedValue(argument)
      return (name: named.name ?? "disk\(index)", path: named.value)
    }
    guard operands.filter({ $0.path == "-" }).count <= (events ? 0 : 1) else {
      throw Failure(
        .usage, "standard input can be used only once")
    }
    var seen: Set<String> = []
    for operand in operands where !seen.insert(operand.name).inserted {
      throw Failure(.usage, "duplicate source name: \(operand.name)")
    }
    return operands
  }

  private func openDisks(
    _ operands: [(name: String, path: String)]
  ) throws -> [(device: ArchiveHeader.Device, source: DiskSource)] {
    var sizes: [String: UInt64] = [:]
    for argument in size {
      let named = NamedValue(argument)
      guard let name = named.name, let count = ByteCount(argument: named.value) else {
        throw Failure(.usage, "--size: '\(argument)' is not NAME=BYTES")
      }
      guard operands.contains(where: { $0.name == name }) else {
        throw Failure(.usage, "--size: no such source: \(name)")
      }
      guard sizes.updateValue(count.bytes, forKey: name) == nil else {
        throw Failure(.usage, "--size: \(name) is given twice")
      }
    }
    return try operands.enumerated().map { index, operand in
      let name = Array(operand.name.utf8)
      // The length of the VM state is known only in clusters.
      let isVMState = name == VMAFormat.vmstateName
      let source = try DiskSource(
        operand.path, declaredSize: sizes[operand.name],
        multiple: UInt64(isVMState ? VMAFormat.clusterSize : VMAFormat.sectorSize),
        pads: pad || isVMState, warn: Console.warn)
      return (ArchiveHeader.Device(id: UInt8(index + 1), name: name, size: source.size), source)
    }
  }

  /// The configuration files of `--config`, after those of the stream, which they replace if the
  /// names are equal.
  private func readConfigs(devices: [ArchiveHeader.Device], told: [ArchiveHeader.Config]) throws
    -> [ArchiveHeader.Config]
  {
    var configs = try ConfigFiles.read(self.configs.config)
    configs = told.filter { told in !configs.contains { $0.name == told.name } } + configs
    if pve {
      guard let index = configs.firstIndex(where: { $0.name == ServerConfig.name })
      else {
        throw Failure(.usage, "--pve requires the configuration file qemu-server.conf (use -c)")
      }
      configs[index].data = try RestoreMap.complete(
        configs[index].data, for: devices, warn: Console.warn)
      guard configs[index].data.count <= VMAFormat.maximumBlobSize else {
        throw Failure(.badData, "qemu-server.conf: is too long with its map lines")
      }
      if let output = destination.output, let name = FilePath(output).lastComponent?.string,
        let fault = RestoreMap.fault(ofName: name, isCompressed: zstd)
      {
        Console.warn("\(output): \(fault)")
      }
    }
    return configs
  }
}
