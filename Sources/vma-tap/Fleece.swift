// SPDX-License-Identifier: Apache-2.0

import FilterIO
import SystemPackage

/// Scratch files that hold old data until it is copied, so that no write of the guest waits for the
/// reader of the stream. QEMU's word for it is fleecing.
///
///     guest ──▶ copy-before-write ──▶ disk
///                       │ old data      ▲ what has not changed
///                       ▼               │
///                 scratch file ◀── snapshot-access ◀── job
///
/// A scratch file that is full breaks the snapshot, and with it the backup, but no write.
struct Fleece {
  /// How the guest reaches a disk: where the copy-before-write node goes in.
  private enum Place {
    /// A device of the guest, at this path of QEMU's object model, which has the node.
    case device(path: String, node: String)
    /// A node of the driver `raw` that no device has, and its own `file`.
    case raw(BlockGraph.Node, file: String)

    var isOfGuest: Bool {
      if case .device = self { true } else { false }
    }

    /// What the copy-before-write node stands on.
    var below: String {
      switch self {
      case .device(_, let node): node
      case .raw(_, let file): file
      }
    }
  }

  /// Seconds that a write may wait for the scratch file; guests give up a request after 30.
  private static let timeout = 10

  private let prefix: String
  private let directory: FilePath
  private let disks: [Disk]
  /// Where nil, the disk is read-only, and needs nothing.
  private let places: [Place?]

  /// Finds out how it can be done, and changes nothing.
  ///
  /// - Parameters:
  ///   - directory: where the scratch files will be.
  ///   - prefix: of the names of all nodes.
  init(_ client: QMPClient, _ disks: [Disk], in directory: String, prefix: String) throws {
    self.prefix = prefix
    self.disks = disks
    do {
      // QEMU has a working directory of its own.
      self.directory = try Host.absolutePath(directory)
    } catch {
      throw Failure(.cannotCreate, directory, error)
    }
    let graph: BlockGraph
    do {
      graph = try BlockGraph(client)
    } catch {
      throw Failure(.general, "can't fleece: \(QMPClient.words(of: error))")
    }
    places = try disks.map { $0.isReadOnly ? nil : try Self.place(of: $0, graph) }
    let areOfGuest = Set(places.compactMap { $0?.isOfGuest })
    guard areOfGuest.count < 2 else {
      throw Failure(
        .general, "disks of the guest can't be fleeced at one instant with other disks")
    }
  }

  private static func place(of disk: Disk, _ graph: BlockGraph) throws -> Place {
    guard let node = graph.node(disk.device), let name = node.name else {
      throw Failure(.general, "\(disk.device): can't be fleeced: it has no node")
    }
    if let path = graph.device(having: name) { return .device(path: path, node: name) }
    // A part of its file would be another disk when it is put back.
    guard node.driver == "raw", let file = graph.file(of: name),
      graph.node(file)?.image.virtualSize == node.image.virtualSize
    else {
      throw Failure(
        .general,
        "\(disk.device): can't be fleeced: no device of the guest has it, and it is no raw node")
    }
    return .raw(node, file: file)
  }

  // MARK: Names

  /// What a node is, the letter behind the prefix.
  private enum Kind: String {
    case copy = "c"
    case scratch = "f"
    case snapshot = "s"
    /// That it is we who have stopped the guest.
    case stopped = "r"
  }

  private func name(_ kind: Kind, _ index: Int) -> String {
    "\(prefix)\(kind.rawValue)\(index + 1)"
  }

  /// What an error of a job means where it tells that the snapshot is broken.
  func reason(of error: String) -> String? {
    switch error {
    case "Permission denied", "No space left on device", "Connection timed out":
      "old data is lost: \(directory) is full, or was not written for \(Self.timeout) seconds"
    default: nil
    }
  }

  // MARK: Putting in

  /// Puts the nodes in; from then on the disks are kept as they are at that instant.
  ///
  /// - Returns: for each disk the node that shows it.
  func insert(_ client: QMPClient) throws -> [String] {
    try addScratchFiles(client)
    for case (let index, let place?) in places.enumerated() {
      try client.execute(
        "blockdev-add",
        [
          "driver": "copy-before-write", "node-name": .string(name(.copy, index)),
          "file": .string(place.below), "target": .string(name(.scratch, index)),
          "on-cbw-error": "break-snapshot", "cbw-timeout": .number(Self.timeout),
          // A guest that gives up all its free space would fill the scratch file with it.
          "discard": "ignore",
        ])
    }
    try putIn(client)
    for case (let index, .some) in places.enumerated() {
      try client.execute(
        "blockdev-add",
        [
          "driver": "snapshot-access", "node-name": .string(name(.snapshot, index)),
          "file": .string(name(.copy, index)),
        ])
    }
    return disks.indices.map { places[$0] == nil ? disks[$0].device : name(.snapshot, $0) }
  }

  /// Makes the files, which lose their names as soon as QEMU has them open: nothing can stay.
  private func addScratchFiles(_ client: QMPClient) throws {
    let names = disks.indices.map { FilePath("disk\($0 + 1)") }
    let folder = try PrivateDirectory(in: directory, prefix: "vma-tap-", files: names.map(\.string))
    defer { folder.remove() }
    for case (let index, .some) in places.enumerated() {
      let path = folder.path.appending(names[index].components)
      do {
        try Descriptor.open(path, [.readWrite, .createNew], permissions: 0o600)
          .truncate(to: disks[index].size)
      } catch let error as Errno {
        throw Failure(.cannotCreate, path.string, error)
      }
    }
    if let user = client.user, user != Host.userID { folder.give(to: user) }
    for case (let index, .some) in places.enumerated() {
      try client.execute(
        "blockdev-add",
        [
          "driver": "file", "node-name": .string(name(.scratch, index)),
          "filename": .string(folder.path.appending(names[index].components).string),
        ])
    }
  }

  /// Puts the copy-before-write nodes where the guest's writes pass, all at one instant.
  private func putIn(_ client: QMPClient) throws {
    var devices: [(path: String, node: String)] = []
    var raws: [JSON] = []
    for case (let index, let place?) in places.enumerated() {
      switch place {
      case .device(let path, _): devices.append((path, name(.copy, index)))
      case .raw(let node, _): raws.append(node.reopened(on: name(.copy, index)))
      }
    }
    if !raws.isEmpty { try client.execute("blockdev-reopen", ["options": .array(raws)]) }
    // Device by device: while it is not the only one, nothing may write in between.
    let isStopped = try devices.count > 1 && stopGuest(client)
    for (path, node) in devices { try Self.setDrive(client, path, node) }
    if isStopped { try Self.continueGuest(client, prefix) }
  }

  private static func setDrive(_ client: QMPClient, _ path: String, _ node: String) throws {
    try client.execute(
      "qom-set", ["path": .string(path), "property": "drive", "value": .string(node)])
  }

  // MARK: The guest stands still

  private struct Status: Decodable {
    var running: Bool
    var status: String
  }

  /// Stops a guest that runs, and leaves a node behind that says so, whatever becomes of us.
  ///
  /// - Returns: whether it ran.
  private func stopGuest(_ client: QMPClient) throws -> Bool {
    guard try client.execute("query-status", returning: Status.self).running else { return false }
    try client.execute(
      "blockdev-add",
      ["driver": "null-co", "node-name": .string(name(.stopped, 0)), "size": 0])
    try client.execute("stop")
    return true
  }

  private static func continueGuest(_ client: QMPClient, _ prefix: String) throws {
    // It may have been shut down meanwhile.
    if try client.execute("query-status", returning: Status.self).status == "paused" {
      try client.execute("cont")
    }
    try client.execute("blockdev-del", ["node-name": .string("\(prefix)\(Kind.stopped.rawValue)1")])
  }

  // MARK: Taking out

  /// Lets a guest go on that a run has stopped; comes before all else.
  ///
  /// - Parameter nodes: all that the run has in QEMU.
  static func releaseGuest(_ client: QMPClient, _ prefix: String, nodes: [String]) throws {
    guard nodes.contains("\(prefix)\(Kind.stopped.rawValue)1") else { return }
    try continueGuest(client, prefix)
  }

  /// Takes one step towards nothing being left, when there is no job any more.
  ///
  /// What is where is told by QEMU alone: it may have changed, and this may be another run's.
  ///
  /// - Returns: whether nothing was left.
  static func clear(_ client: QMPClient, _ prefix: String, nodes: [String]) throws -> Bool {
    func delete(_ kind: Kind) throws -> [String] {
      let names = nodes.filter { $0.hasPrefix(prefix + kind.rawValue) }
      for name in names {
        try client.attempt("blockdev-del", ["node-name": .string(name)])
      }
      return names
    }
    let snapshots = try delete(.snapshot)
    let copies = nodes.filter { $0.hasPrefix(prefix + Kind.copy.rawValue) }
    if !copies.isEmpty { try takeOut(client, copies) }
    _ = try delete(.copy)
    return try snapshots + copies + delete(.scratch) == []
  }

  /// Gives the devices and the raw nodes back what the copy-before-write nodes stand on.
  private static func takeOut(_ client: QMPClient, _ copies: [String]) throws {
    let graph = try BlockGraph(client)
    var raws: [JSON] = []
    for copy in copies {
      guard let below = graph.file(of: copy) else { continue }
      if let path = graph.device(having: copy) {
        try client.attempt(
          "qom-set", ["path": .string(path), "property": "drive", "value": .string(below)])
      }
      raws += graph.rawNodes(on: copy).map { $0.reopened(on: below) }
    }
    if !raws.isEmpty { try client.attempt("blockdev-reopen", ["options": .array(raws)]) }
  }
}

extension BlockGraph.Node {
  /// Options for the same node on another file. Those that are not given fall back to defaults, but
  /// for `discard`, which QEMU does not tell and keeps.
  fileprivate func reopened(on file: String) -> JSON {
    [
      "driver": .string(driver), "node-name": .string(name ?? ""), "file": .string(file),
      "read-only": .bool(isReadOnly), "detect-zeroes": .string(detectZeroes),
      "cache": ["direct": .bool(cache.direct), "no-flush": .bool(cache.noFlush)],
    ]
  }
}
