// SPDX-License-Identifier: Apache-2.0

import Command
import Synchronization
import System
import SystemPackage
import VMA

/// One backup, from the first command that changes anything in QEMU to the last that cleans up.
///
/// This order protects the guest:
///
/// 1. From the first node on, a signal ends the run, not the process.
/// 2. From then until the process ends, QEMU's writes are acknowledged, even if the data is no
///    longer needed. A write of the guest waits for such an acknowledgement, and QEMU 7.2 reports
///    an error to the guest.
/// 3. However the run ends, all jobs are ended and all nodes removed before the process ends.
/// 4. The end of the stream is written only after all jobs have ended without an error and each
///    cluster has arrived.
final class BackupRun: @unchecked Sendable {
  private enum Phase {
    case copying
    /// The backup fails; a message gives the reason.
    case failing
    /// All data has arrived and only needs to be written.
    case copied
  }

  /// A signal that ends the run.
  private struct Interruption: Error {
    var signal: Int32
  }

  /// Seconds to wait for another client of the monitor to disconnect.
  static let patience = 5.0
  /// Seconds that the monitor may be unreachable during a backup.
  private static let absence = 60.0

  // Only the main thread changes these, except those with a lock.
  private let monitorPath: String
  private let mailbox: Mailbox
  private var client: QMPClient
  private let link: GuardLink
  private let jobs: Jobs
  private let targets: [Target]
  private let queue: EventQueue
  private let server: NBDServer
  private let writer: EventWriter
  private let configs: [ArchiveHeader.Config]
  private let phase = Mutex(Phase.copying)
  private var lostSince: Double?
  private var shouldPause = false
  /// Whether QEMU's jobs are paused; nil if unknown.
  private var isPaused: Bool? = false

  /// The number of pauses of background copying because the reader of the stream was slow.
  private(set) var pauseCount = 0

  var clusterCount: Int { targets.reduce(0) { $0 + $1.clusterCount } }
  /// Bytes written to the spill file, and the longest time that a request was held, in seconds.
  var pressure: (spilledBytes: UInt64, longestWait: Double) { queue.summary }
  /// Bytes of the stream; known at its end.
  var byteCount: UInt64 { writer.byteCount }

  init(
    monitorPath: String, client: QMPClient, mailbox: Mailbox, disks: [Disk],
    configs: [ArchiveHeader.Config],
    user: UInt32?, link: GuardLink, spill: SpillFile?, patience: Double, output: Descriptor
  ) throws {
    self.monitorPath = monitorPath
    self.client = client
    self.mailbox = mailbox
    self.configs = configs
    self.link = link
    jobs = Jobs(disks)
    let devices = disks.enumerated().map { index, disk in
      ArchiveHeader.Device(id: UInt8(index + 1), name: Array(disk.name.utf8), size: disk.size)
    }
    targets = devices.enumerated().map { index, device in
      Target(device, name: Jobs.exportName(index), disk: disks[index].device)
    }
    queue = try EventQueue(devices, spill: spill, patience: patience, mailbox: mailbox)
    writer = try EventWriter(output, devices, queue, mailbox)
    server = try NBDServer(
      targets, on: link.listener, queue: queue, mailbox: mailbox, user: user)
  }

  /// - Throws: a `Failure`. A signal ends the process, once everything is cleaned up.
  func run() throws {
    SignalMask.ignoreBrokenPipesEverywhere()
    let schema: Schema
    do {
      schema = try Schema(client)
    } catch {
      throw Failure(
        .general, "\(monitorPath): query-qmp-schema: \(QMPClient.words(of: error))")
    }
    mailbox.observe { [self] in observe($0) }
    Signals.take { [mailbox] in mailbox.post(.signal($0)) }
    var outcome = Result {
      try start(schema)
      try watch()
    }
    if case .failure(let error) = outcome { abort(error) }
    do {
      try clear()
    } catch {
      if case .success = outcome {
        outcome = .failure(error)
        abort(error)
      } else {
        Console.error(QMPClient.words(of: error))
      }
    }
    if case .success = outcome {
      outcome = Result { try finish() }
      if case .failure(let error) = outcome { abort(error) }
    }
    guard case .failure(let error) = outcome else { return }
    writer.waitForEnd(milliseconds: 1000)
    if let interruption = error as? Interruption { Signals.die(of: interruption.signal) }
    throw Self.failure(error)
  }

  /// Releases QEMU's writes immediately if the backup has failed. Otherwise they could wait for a
  /// free buffer, QEMU for them, and we for QEMU's answer to a command.
  private func observe(_ message: Message) {
    switch message {
    case .signal, .shutdown, .outputFailed, .targetFailed:
      phase.withLock {
        guard $0 == .copying else { return }
        $0 = .failing
        queue.discard()
        mailbox.hurry()
      }
    default: break
    }
  }

  /// - Returns: whether the backup had not failed until now; after this, it cannot fail.
  private func isCopied() -> Bool {
    phase.withLock {
      if $0 == .copying { $0 = .copied }
      return $0 == .copied
    }
  }

  /// From now on, writes of QEMU are dropped.
  private func abort(_ error: any Error) {
    if let interruption = error as? Interruption {
      writer.abort("terminated by signal \(interruption.signal)")
    } else {
      writer.abort(Self.failure(error).message)
    }
  }

  private static func failure(_ error: any Error) -> Failure {
    error as? Failure ?? Failure(.inputOutput, QMPClient.words(of: error))
  }

  // MARK: The steps

  private func start(_ schema: Schema) throws {
    do {
      try link.tell(.monitor(path: monitorPath))
      for target in targets { try link.tell(.export(size: target.device.size)) }
      try jobs.addNodes(client, serverPath: server.path.string, link)
      // Before the transaction, so that its answer never depends on the reader of the pipe.
      try writer.start(configs: configs, time: Host.now)
      try GuestState.refuseMigration(client)
      try jobs.start(client, schema: schema, link)
    } catch let error as QMPError {
      throw Failure(.general, "QEMU refused to start the backup: \(error.desc)")
    }
  }

  /// Waits until all jobs have succeeded.
  ///
  /// The loss of the monitor is not a failure: the jobs continue without it.
  private func watch() throws {
    while true {
      // Events trigger a check; a regular check covers missed events.
      let message = mailbox.next(milliseconds: client.isLost ? 100 : 1000)
      var looks = false
      switch message {
      case .queueIsFull:
        pauseCount += 1
        shouldPause = true
      case .queueIsLow: shouldPause = false
      case .shutdown: throw Failure(.inputOutput, "QEMU was shut down")
      case .outputFailed(let failure), .targetFailed(let failure): throw failure
      case .signal(let signal): throw Interruption(signal: signal)
      case .written: break
      case .jobsChanged, .guestStopped, .connectionLost, nil: looks = true
      }
      do {
        guard try isConnected() else { continue }
        if isPaused != shouldPause {
          try jobs.pause(client, shouldPause)
          isPaused = shouldPause
        }
        if case .guestStopped = message { try GuestState.refuseMigration(client) }
        if looks, try haveJobsEnded(), isCopied() { return }
      } catch let error as QMPLost {
        client.abandon(error)
      }
    }
  }

  /// Reconnects to the monitor if the connection is lost.
  ///
  /// - Returns: whether there is a connection.
  /// - Throws: if QEMU has exited, or its monitor is unreachable for too long.
  private func isConnected() throws -> Bool {
    guard client.isLost else {
      lostSince = nil
      return true
    }
    let start = lostSince ?? Host.uptime
    lostSince = start
    do {
      client = try QMPClient(monitorPath, mailbox: mailbox, within: 2)
      // Events may have been missed meanwhile.
      isPaused = nil
      try GuestState.refuseMigration(client)
      return true
    } catch let failure as Failure where client.isLost {
      if isQEMUGone { throw Failure(.inputOutput, "QEMU has exited: \(failure.message)") }
      guard Host.uptime - start < Self.absence else {
        throw Failure(
          .inputOutput,
          "no connection to the monitor for \(Int(Self.absence)) seconds: \(failure.message)")
      }
      return false
    }
  }

  /// - Throws: if a job has failed or disappeared.
  private func haveJobsEnded() throws -> Bool {
    let states = try jobs.states(client)
    for (index, disk) in jobs.disks.enumerated() {
      guard let state = states.first(where: { $0.id == jobs.jobID(index) }) else {
        throw Failure(
          .inputOutput, "\(disk.device): the backup job was removed by another QMP client")
      }
      guard state.isConcluded else { continue }
      // If one job fails, QEMU cancels the others; their error is not the cause.
      if let error = state.error, error != "Operation canceled" {
        throw Failure(.inputOutput, "\(disk.device): QEMU's job failed: \(error)")
      }
    }
    guard states.count == jobs.disks.count, states.allSatisfy(\.isConcluded) else { return false }
    if let index = states.firstIndex(where: { $0.error != nil }) {
      throw Failure(
        .inputOutput, "\(jobs.disks[index].device): the backup was canceled in QEMU")
    }
    for (disk, target) in zip(jobs.disks, targets)
    where target.missingCount > 0 && !queue.isDiscarded {
      throw Failure(
        .general, "\(disk.device): \(target.missingCount) clusters missing from QEMU's job")
    }
    return true
  }

  /// Nothing in QEMU depends on this process any more, and the monitor cannot be used.
  private struct Abandoned: Error {}

  /// Removes everything from QEMU, however long that takes, as long as a guest depends on it.
  ///
  /// - Throws: if something remains.
  private func clear() throws {
    var removal = jobs.removal
    var pause: UInt32 = 1
    var hasSaid = false
    let start = Host.uptime
    var lastNeed = start
    func wait(_ milliseconds: UInt32) throws {
      let now = Host.uptime
      if server.connectionCount > 0, targets.contains(where: { $0.missingCount > 0 }) {
        lastNeed = now
      }
      guard now - lastNeed < Self.absence else { throw Abandoned() }
      if !hasSaid, now - start > 10 {
        hasSaid = true
        Console.warn("waiting for QEMU to end the backup; its writes are acknowledged meanwhile")
      }
      Host.sleep(milliseconds: milliseconds)
    }
    defer {
      // A guard that has exited needs no message.
      try? link.tell(.done)
      server.remove()
      client.close()
    }
    while true {
      do {
        do {
          if client.isLost { client = try QMPClient(monitorPath, mailbox: mailbox, within: 2) }
          return try removal.run(client, wait: wait)
        } catch let error as QMPLost {
          client.abandon(error)
        } catch is Failure {
          // No monitor and no data connection: QEMU has exited, and its jobs with it. With one of
          // them left, another client may only be using the monitor.
          if client.isLost, isQEMUGone { return }
        }
        // The last command is repeated.
        removal = jobs.removal
        try wait(pause)
        pause = min(pause * 2, 200)
      } catch {
        throw Failure(
          .inputOutput,
          "\(monitorPath): cannot end the backup in QEMU; remaining in QEMU: \(jobs.names)")
      }
    }
  }

  private var isQEMUGone: Bool {
    guard server.connectionCount == 0 else { return false }
    do {
      _ = try Descriptor.connect(to: FilePath(monitorPath), milliseconds: 0)
      return false
    } catch {
      return error == .connectionRefused || error == .noSuchFileOrDirectory
    }
  }

  /// Writes the end of the stream and waits until it is written.
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
