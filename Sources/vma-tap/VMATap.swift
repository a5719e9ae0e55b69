// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import ChangedBlocks
import FilterIO
import VMA

@main
struct VMATap: Filter {
  static let configuration = CommandConfiguration(
    commandName: "vma-tap",
    abstract: "Tell the disks of a running QEMU, as they are at one instant, as a stream.",
    usage: """
      vma-tap --qmp SOCKET [-d DEVICE[=NAME]]... [-c [NAME=]FILE]...
              [--tmpdir DIR] > events
      vma-tap --qmp SOCKET --list
      """,
    discussion: """
      The guest runs on. The stream is for vma-pack --events. Example:

        vma-tap --qmp vm.qmp -c qemu-server.conf | vma-pack --events > vm.vma
      """,
    version: "vma-tap \(toolsVersion)")

  @Option(
    help: ArgumentHelp("QEMU's QMP socket.", valueName: "socket"), completion: .file())
  var qmp: String

  @Option(
    name: [.customShort("d", allowingJoined: true), .long],
    help: ArgumentHelp(
      "Only this disk, under this name in the archive.", valueName: "device[=name]"))
  var device: [String] = []

  @Option(
    name: [.customShort("c", allowingJoined: true), .long],
    help: ArgumentHelp("A configuration file to carry along.", valueName: "[name=]file"),
    completion: .file())
  var config: [String] = []

  @Option(
    help: ArgumentHelp(
      "Buffer old data in an unlinked file in DIR.", valueName: "dir"),
    completion: .directory)
  var tmpdir: String?

  @Option(
    help: ArgumentHelp("Deprecated; use --tmpdir.", valueName: "dir", visibility: .hidden),
    completion: .directory)
  var fleece: String?

  @Flag(name: .shortAndLong, help: "List the disks: device, bytes, rw or ro, name.")
  var list = false

  @OptionGroup var common: CommonOptions

  func filter() throws {
    guard !list || device.isEmpty && config.isEmpty && tmpdir == nil && fleece == nil else {
      throw Failure(.usage, "--list goes with none of --device, --config and --tmpdir")
    }
    if !list, Descriptor.standardOutput.isTerminal {
      throw Failure(.usage, "standard output is a terminal; vma-pack --events reads the stream")
    }
    if fleece != nil {
      Console.warn("--fleece is deprecated and means --tmpdir; QEMU's block graph stays as it is")
    }
    let configs = try ConfigFiles.read(config)
    guard configs.count <= StreamFormat.maximumConfigCount else {
      throw Failure(.usage, "an archive holds at most \(StreamFormat.maximumConfigCount) configs")
    }

    let mailbox = Mailbox()
    let client = try QMPClient(qmp, mailbox: mailbox, patience: BackupRun.patience)
    let discovery: DiskDiscovery
    do {
      // First: a running backup hides the nodes that are exported.
      if !list { try Jobs.clearDead(client) }
      discovery = try DiskDiscovery(client)
    } catch {
      throw Failure(.noInput, "\(qmp): \(QMPClient.words(of: error))")
    }
    if list { return try write(list: discovery.disks) }

    let disks = try discovery.select(device)
    Descriptor.standardOutput.widenPipe()
    let total = disks.reduce(0) { $0 + $1.size }
    Progress.current.expect(total)
    let run = try BackupRun(
      monitorPath: qmp, client: client, mailbox: mailbox, disks: disks, configs: configs,
      output: .standardOutput)
    try run.run()
    if common.verbose {
      let count = "\(disks.count) \(disks.count == 1 ? "disk" : "disks")"
      Console.error(
        "\(count), \(ByteCount(total)) in \(run.clusterCount) clusters; "
          + "\(ByteCount(run.byteCount)) written, paused \(run.pauseCount) times, "
          + Progress.current.rate(of: total))
    }
  }

  /// One line each, fields apart by tabs.
  private func write(list disks: [Disk]) throws {
    let text = disks.map { disk in
      let fields = [
        disk.device, String(disk.size), disk.isReadOnly ? "ro" : "rw", disk.name,
      ]
      return fields.map { String(printable: $0.utf8) }.joined(separator: "\t") + "\n"
    }
    try Descriptor.standardOutput.write(Array(text.joined().utf8))
  }
}
