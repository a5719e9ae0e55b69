// SPDX-License-Identifier: Apache-2.0

import FilterIO
import Synchronization
import SystemPackage
import VMA

/// One backup, from the first command that changes anything in QEMU to the last that takes it back.
///
/// The order of things is what keeps the guest from harm:
///
/// 1. From the first node on, signals do not end the process but the run.
/// 2. QEMU's writes are acknowledged from then until the process ends, whether or not anybody wants
///    the data. A write of the guest waits for such an acknowledgement, and QEMU 7.2 hands an error
///    on to the guest.
/// 3. However the run goes, all jobs are ended and all nodes removed before the process ends.
/// 4. The end of the stream is written only after all jobs have ended without an error and each
///    cluster has come.
final class BackupRun: @unchecked Sendable {
  private enum Phase {
    case copying
    /// Something has happened that makes the backup fail; a message says what.
    case failing
    /// All data is there, and has only to be written.
    case copied
  }

  /// A signal that ends the run.
  private struct Interruption: Error {
    var signal: Int32
  }

  /// For another client of the monitor to go away, in milliseconds.
  static let patience: Int32 = 5000

  // What changes is of the main thread alone, but for what has a lock.
  private let monitorPath: String
  private let mailbox: Mailbox
  private var client: QMPClient
  private let jobs: Jobs
  private let targets: [Target]
  private let queue: EventQueue
  private let server: NBDServer
  private let writer: EventWriter
  private let configs: [Config]
  private let phase = Mutex(Phase.copying)

  /// How often the copying in the background had to wait for the reader of the stream.
  private(set) var pauseCount = 0

  var clusterCount: Int { targets.reduce(0) { $0 + $1.clusterCount } }
  /// Bytes that went to the spill file, and the longest that a request was held, in seconds.
  var pressure: (spilledBytes: UInt64, longestWait: Double) { queue.summary }
  /// Of the stream; known when it is at its end.
  var byteCount: UInt64 { writer.byteCount }

  init(
    monitorPath: String, client: QMPClient, mailbox: Mailbox, disks: [Disk], configs: [Config],
    spill: SpillFile?, patience: Double, output: Descriptor
  ) throws {
    self.monitorPath = monitorPath
    self.client = client
    self.mailbox = mailbox
    self.configs = configs
    jobs = Jobs(disks)
    let devices = disks.enumerated().map { index, disk in
      Device(id: UInt8(index + 1), name: Array(disk.name.utf8), size: disk.size)
    }
    targets = devices.enumerated().map { index, device in
      Target(device, name: Jobs.exportName(index))
    }
    queue = try EventQueue(devices, spill: spill, patience: patience, mailbox: mailbox)
    writer = try EventWriter(output, devices, queue, mailbox)
    server = try NBDServer(targets, queue: queue, mailbox: mailbox, user: client.user)
  }

  /// - Throws: a `Failure`. A signal ends the process, when all is taken back.
  func run() throws {
    SignalMask.ignoreBrokenPipesEverywhere()
    let schema = try? Schema(client)
    mailbox.observe { [self] in observe($0) }
    Signals.take { [mailbox] in mailbox.post(.signal($0)) }
    var outcome = Result {
      try start(schema)
      try watch()
    }
    if case .failure(let error) = outcome { abort(error) }
    clear()
    if case .success = outcome {
      outcome = Result { try finish() }
      if case .failure(let error) = outcome { abort(error) }
    }
    guard case .failure(let error) = outcome else { return }
    writer.waitForEnd(milliseconds: 1000)
    if let interruption = error as? Interruption { Signals.die(of: interruption.signal) }
    throw Self.failure(error)
  }

  /// Lets QEMU's writes go at once when the backup has failed. It may be that they wait for room,
  /// QEMU for them, and we for QEMU's answer to a command.
  private func observe(_ message: Message) {
    switch message {
    case .signal, .shutdown, .outputFailed, .targetFailed:
      phase.withLock {
        guard $0 == .copying else { return }
        $0 = .failing
        queue.discard()
      }
    default: break
    }
  }

  /// - Returns: whether nothing had failed until now, after which nothing can.
  private func isCopied() -> Bool {
    phase.withLock {
      if $0 == .copying { $0 = .copied }
      return $0 == .copied
    }
  }

  /// From now on what QEMU writes is dropped.
  private func abort(_ error: any Error) {
    if let interruption = error as? Interruption {
      writer.abort("ended by signal \(interruption.signal)")
    } else {
      writer.abort(Self.failure(error).message)
    }
  }

  private static func failure(_ error: any Error) -> Failure {
    error as? Failure ?? Failure(.inputOutput, QMPClient.words(of: error))
  }

  // MARK: The steps

  private func start(_ schema: Schema?) throws {
    do {
      try jobs.addNodes(client, serverPath: server.path.string)
      // Before the transaction, so that the pipe behind can never be what its answer waits for.
      try writer.start(configs: configs, time: Host.now)
      try jobs.start(client, schema: schema)
    } catch let error as QMPError {
      throw Failure(.general, "QEMU does not start the backup: \(error.desc)")
    }
  }

  /// Waits until all jobs have ended well.
  private func watch() throws {
    while true {
      // Events tell when to look; a look now and then makes up for one that was missed.
      switch mailbox.next(milliseconds: 1000) {
      case .jobsChanged, nil: if try haveJobsEnded(), isCopied() { return }
      case .queueIsFull:
        pauseCount += 1
        try jobs.pause(client, true)
      case .queueIsLow:
        try jobs.pause(client, false)
      case .connectionLost: throw QMPLost()
      case .shutdown: throw Failure(.inputOutput, "QEMU is shut down")
      case .outputFailed(let failure), .targetFailed(let failure): throw failure
      case .signal(let signal): throw Interruption(signal: signal)
      case .written: break
      }
    }
  }

  /// - Throws: if one has failed, or has vanished.
  private func haveJobsEnded() throws -> Bool {
    let states = try jobs.states(client)
    for (index, disk) in jobs.disks.enumerated() {
      guard let state = states.first(where: { $0.id == jobs.jobID(index) }) else {
        throw Failure(.inputOutput, "\(disk.device): somebody has taken the job out of QEMU")
      }
      guard state.isConcluded else { continue }
      // Where one job fails, its peers are cancelled: theirs is not the error to tell.
      if let error = state.error, error != "Operation canceled" {
        throw Failure(.inputOutput, "\(disk.device): QEMU's job has failed: \(error)")
      }
    }
    guard states.count == jobs.disks.count, states.allSatisfy(\.isConcluded) else { return false }
    if let index = states.firstIndex(where: { $0.error != nil }) {
      throw Failure(
        .inputOutput, "\(jobs.disks[index].device): the backup was cancelled in QEMU")
    }
    for (disk, target) in zip(jobs.disks, targets)
    where target.missingCount > 0 && !queue.isDiscarded {
      throw Failure(
        .general, "\(disk.device): QEMU has left out \(target.missingCount) clusters")
    }
    return true
  }

  /// Leaves nothing in QEMU, however long that takes.
  private func clear() {
    var wait: UInt32 = 1
    var hasSaid = false
    let start = Host.uptime
    while true {
      do {
        if client.isLost { client = try QMPClient(monitorPath, mailbox: mailbox, patience: 2000) }
        if try jobs.clear(client) { break }
      } catch {
        // No monitor and no connection for data: QEMU is gone, and with it what was in it. With
        // one of both left it may only be that somebody else is at the monitor.
        if client.isLost, server.connectionCount == 0, !canConnect() { break }
      }
      if !hasSaid, Host.uptime - start > 10 {
        hasSaid = true
        Console.warn("waiting for QEMU to end the backup; its writes are acknowledged meanwhile")
      }
      Host.sleep(milliseconds: wait)
      wait = min(wait * 2, 200)
    }
    server.remove()
    client.close()
  }

  private func canConnect() -> Bool {
    (try? Descriptor.connect(to: FilePath(monitorPath))) != nil
  }

  /// Writes the end of the stream and waits for it to be taken.
  private func finish() throws {
    queue.finish()
    while true {
      switch mailbox.next(milliseconds: 1000) {
      case .written: return
      case .outputFailed(let failure): throw failure
      case .signal(let signal): throw Interruption(signal: signal)
      default: break
      }
    }
  }
}
