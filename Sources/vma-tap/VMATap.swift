// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import ChangedBlocks
import Command
import System
import VMA

struct VMATap: Filter {
  static let configuration = CommandConfiguration(
    commandName: "vma-tap",
    abstract: "Stream a point-in-time backup of a running QEMU's disks.",
    usage: """
      vma-tap --qmp SOCKET [-d DEVICE[=NAME]]... [-c [NAME=]FILE]...
              [--tmpdir DIR] [--spill-limit SIZE] [--patience SECONDS] > events
      vma-tap --qmp SOCKET --list
      """,
    discussion: """
      The guest continues to run. vma-pack --events reads the stream. Example:

        vma-tap --qmp vm.qmp -c qemu-server.conf | vma-pack --events > vm.vma
      """,
    version: "vma-tap \(toolsVersion)")

  @Option(
    help: ArgumentHelp("Connect to the QMP socket of QEMU.", valueName: "SOCKET"),
    completion: .file())
  var qmp: String

  @Option(
    name: [.customShort("d", allowingJoined: true), .long],
    help: ArgumentHelp(
      "Back up only DEVICE, as NAME (repeatable).", valueName: "DEVICE[=NAME]"),
    completion: .values(Self.devices))
  var device: [String] = []

  @OptionGroup var configs: ConfigOptions

  @Option(
    help: ArgumentHelp(
      "Create the spill file in DIR (default: $TMPDIR, /var/tmp).", valueName: "DIR"),
    completion: .directory)
  var tmpdir: String?

  @Option(
    help: ArgumentHelp("Limit the spill file to SIZE; 0: do not use one.", valueName: "SIZE"))
  var spillLimit = "8G"

  @Option(
    help: ArgumentHelp("Hold a guest write for at most SECONDS.", valueName: "SECONDS"))
  var patience = 20

  @Option(
    help: ArgumentHelp("Deprecated; use --tmpdir.", valueName: "DIR", visibility: .hidden),
    completion: .directory)
  var fleece: String?

  @Option(
    help: ArgumentHelp(
      "Allow USER, who runs QEMU, to connect (default: detected).", valueName: "USER"))
  var user: String?

  @Flag(name: .shortAndLong, help: "List disks: device, bytes, rw or ro, name.")
  var list = false

  @Flag(help: .hidden) var worker = false

  @OptionGroup var common: CommonOptions

  /// The first process becomes the guard of another one, which does all the work.
  func prepare() throws {
    if !list && !worker { try Guard.run() }
  }

  func filter() throws {
    guard !list || device.isEmpty && configs.config.isEmpty && tmpdir == nil && fleece == nil
    else {
      throw Failure(.usage, "--list cannot be combined with --device, --config or --tmpdir")
    }
    if !list, Descriptor.standardOutput.isTerminal {
      throw Failure(.usage, "standard output is a terminal (pipe it to vma-pack --events)")
    }
    if fleece != nil {
      Console.warn("--fleece is deprecated; use --tmpdir")
    }
    guard patience > 0 else { throw Failure(.usage, "--patience: must be at least 1 second") }
    if patience > 29 {
      Console.warn("--patience: many guests report an I/O error after 30 seconds")
    }
    guard let limit = ByteCount(argument: spillLimit) else {
      throw Failure(.usage, "--spill-limit: \(spillLimit) is not a size such as 512M or 8G")
    }
    let configs = try ConfigFiles.read(self.configs.config)
    guard configs.count <= StreamFormat.maximumConfigCount else {
      throw Failure(
        .usage, "at most \(StreamFormat.maximumConfigCount) configuration files are allowed")
    }

    // Before QEMU receives any command.
    let spill =
      list || limit.bytes == 0 ? nil : try SpillFile(in: tmpdir ?? fleece, limit: limit.bytes)
    if let spill, try !spill.hasSpace() {
      Console.warn(
        "\(spill.name): not used while less than 1 GiB or 5 % of the file system is free")
    }

    let chosenUser = try user.map {
      guard let user = Host.userID(named: $0) else {
        throw Failure(.usage, "--user: no such user: \($0)")
      }
      return user
    }

    let link = list ? nil : try GuardLink()
    let mailbox = Mailbox()
    let client = try QMPClient(qmp, mailbox: mailbox, within: BackupRun.patience)
    let discovery: DiskDiscovery
    do {
      var nodes = try BlockNode.all(client)
      if !list {
        try GuestState.refuseMigration(client)
        // A running backup hides the nodes that are exported.
        if try OtherRuns(client, nodes).removeDead(client) { nodes = try BlockNode.all(client) }
      }
      discovery = try DiskDiscovery(client, nodes)
    } catch let failure as Failure {
      throw Failure(failure.status, "\(qmp): \(failure.message)")
    } catch {
      throw Failure(.noInput, "\(qmp): \(QMPClient.words(of: error))")
    }
    guard let link else { return try write(list: discovery.disks) }

    let disks = try discovery.select(device)
    Descriptor.standardOutput.widenPipe()
    let total = disks.reduce(0) { $0 + $1.size }
    Progress.current.expect(total)
    let run = try BackupRun(
      monitorPath: qmp, client: client, mailbox: mailbox, disks: disks, configs: configs,
      user: chosenUser ?? client.user, link: link, spill: spill,
      patience: Double(min(patience, 1_000_000_000)), output: .standardOutput)
    try run.run()
    if common.verbose {
      let count = Counted(disks.count, "disk")
      Console.error(
        "\(count), \(ByteCount(total)) in \(Counted(run.clusterCount, "cluster")); "
          + "\(ByteCount(run.byteCount)) written, paused \(run.pauseCount) times, "
          + "\(ByteCount(run.pressure.spilledBytes)) spilled, guest writes held for at most "
          + "\(Int((run.pressure.longestWait * 1000).rounded())) ms, "
          + Progress.current.rate(of: total))
    }
  }

  /// The devices of the QEMU whose socket is on a command line, for a shell.
  private static func devices(for request: CompletionRequest) -> [String] {
    guard !request.start.contains("="), let path = request.value(of: "--qmp"),
      // A socket that does not answer has nothing to offer.
      let client = try? QMPClient(path, mailbox: Mailbox(), within: 1),
      let discovery = try? DiskDiscovery(client, BlockNode.all(client))
    else { return [] }
    return discovery.disks.map(\.device).filter { $0.utf8.allSatisfy(isPlain) }
  }

  /// One line each, with fields separated by tabs.
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
