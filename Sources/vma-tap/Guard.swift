// SPDX-License-Identifier: Apache-2.0

import Command
import Files
import System
import SystemPackage

/// The first of the two processes of a backup: it survives the other one.
///
/// A guest's write may wait for this program, and QEMU 7.2 reports an error to the guest. So if the
/// worker process dies for any reason, another process must answer QEMU until the backup is ended
/// there. That is this process: one thread and little memory, so that little can go wrong in it. It
/// shares the *listening* socket with its worker. QEMU reconnects and repeats the requests that
/// were not answered (`reconnect-delay`).
///
/// If this process dies, the worker ends the backup as on SIGTERM.
final class Guard {
  /// The prefix of the name of the folder with the socket.
  static let directoryPrefix = "vma-tap-"

  /// Seconds for QEMU to reconnect all disks. It reconnects a disk if a request waits for an
  /// answer. A canceled job ends such a request with an error, until the request has been sent on
  /// the new connection. A disk without a request is not reconnected: guest writes are acknowledged
  /// until this time has passed.
  private static let reconnectTime = 5.0
  /// Seconds after which the backup is canceled even if clients keep connecting without a request.
  private static let longestReconnectTime = 30.0
  /// Seconds for the first request on a connection.
  private static let requestTime = 0.5
  /// Seconds without any sign of QEMU until it is considered to have exited.
  private static let absence = 60.0
  /// Descriptors in addition to QEMU's connections: the monitor's, and a few for strangers.
  private static let spareDescriptors = 4
  private static let leastReserve = 12

  private let directory: PrivateDirectory
  private let listener: Descriptor
  private let control: Descriptor
  private let signals: SignalQueue
  private let worker: Worker
  private let buffer: Buffer
  /// For QEMU's connections and for its monitor.
  private let reserve = DescriptorReserve()

  // What the worker has reported.
  private var monitorPath: String?
  private var exports: [NBDExport] = []
  private var jobs: [String] = []
  private var nodes: [String] = []
  private var isDone = false

  private init() throws {
    // Reserves all resources before there is anything to guard, descriptors first.
    try reserve.hold(Self.leastReserve)
    buffer = try Buffer(capacity: 1 << 20)
    signals = try SignalQueue()
    let parent = Host.environment("TMPDIR") ?? ""
    // The path must fit an address of 107 bytes, and QEMU has its own working directory.
    let fits = parent.hasPrefix("/") && parent.utf8.count < 80
    directory = try PrivateDirectory(
      in: FilePath(fits ? parent : "/tmp"), prefix: Self.directoryPrefix, files: ["nbd"])
    let path = directory.path.appending("nbd")
    do {
      listener = try Descriptor.listen(at: path)
      let (here, there) = try Descriptor.messagePair()
      control = here
      worker = try Worker(adding: "--worker", listener: listener, control: there)
    } catch {
      directory.remove()
      throw Failure(.cannotCreate, path.string, error)
    }
    Descriptor.giveUpStandardOutput()
  }

  /// Runs a worker to its end.
  ///
  /// - Throws: if it cannot be started, or had to be replaced.
  static func run() throws -> Never {
    let process = try Guard()
    let end = process.waitForWorker()
    process.hear()
    let failure = process.isDone || process.nodes.isEmpty ? nil : process.rescue(from: end)
    process.directory.remove()
    if let failure { throw failure }
    switch end {
    case .exit(let status): Console.exit(status)
    case .signal(let signal): Signals.die(of: signal)
    }
  }

  // MARK: While the worker lives

  private func waitForWorker() -> Worker.End {
    var isListening = true
    while true {
      var readiness = Readiness()
      readiness.add(signals.descriptor)
      if isListening { readiness.add(control) }
      // The signal of the worker's exit can be merged with another, so its state is checked
      // regularly.
      readiness.wait(milliseconds: 1000)
      forwardSignals()
      isListening = hear()
      if let end = worker.end() { return end }
    }
  }

  private func forwardSignals() {
    while let signal = signals.next() {
      if case .other(let number) = signal { worker.send(number) }
    }
  }

  /// Processes what the worker has reported.
  ///
  /// - Returns: whether more can follow.
  @discardableResult
  private func hear() -> Bool {
    do {
      while let count = try control.readNow(into: buffer, 0..<buffer.capacity) {
        guard count > 0 else { return false }
        let bytes = buffer.withBytes(0..<count) { bytes in bytes.indices.map { bytes[$0] } }
        switch GuardMessage(bytes) {
        case .monitor(let path): monitorPath = path
        case .export(let size):
          exports.append(NBDExport(name: Jobs.exportName(exports.count), size: size))
          // The worker process, which needs more of them, has checked that there are enough.
          try? reserve.hold(exports.count + Self.spareDescriptors)
        case .node(let name): nodes.append(name)
        case .job(let name): jobs.append(name)
        case .done: isDone = true
        case nil: break
        }
      }
      return true
    } catch {
      return false
    }
  }

  // MARK: After its death

  private func rescue(from end: Worker.End) -> Failure {
    let how =
      switch end {
      case .exit(let status): "exited with status \(status)"
      case .signal(let signal): "was killed by signal \(signal)"
      }
    let start = Host.uptime
    reserve.release()
    var lastContact = start
    var hasSaid = false
    var connections: [DroppingConnection] = []
    var rescue: Rescue?
    while true {
      let now = Host.uptime
      let canCancel = canCancel(connections, since: start, now: now)
      if rescue == nil, canCancel {
        rescue = Rescue(monitorPath ?? "", jobs: jobs, nodes: nodes, buffer: buffer)
      }
      rescue?.step(canCancel: canCancel)
      if let rescue {
        if rescue.isDone {
          return Failure(
            .inputOutput,
            "the worker process \(how); the backup was canceled, and the guest continues to run")
        }
        if connections.isEmpty, rescue.isRefused {
          return Failure(.inputOutput, "the worker process \(how), and QEMU has exited")
        }
      }
      if !connections.isEmpty || rescue == nil { lastContact = now }
      if now - lastContact > Self.absence {
        return Failure(
          .inputOutput,
          "the worker process \(how), and QEMU's monitor cannot be used; remaining in QEMU: "
            + (jobs + nodes).joined(separator: ", "))
      }
      if !hasSaid, now - start > 10 {
        hasSaid = true
        Console.warn(
          "the worker process \(how); waiting for QEMU's monitor to cancel the backup; "
            + "QEMU's writes are acknowledged meanwhile")
      }
      wait(&connections, rescue)
    }
  }

  /// Whether no request in QEMU waits for a connection any more, as far as that can be known here.
  private func canCancel(
    _ connections: [DroppingConnection], since start: Double, now: Double
  ) -> Bool {
    if now - start >= Self.longestReconnectTime { return true }
    return connections.allSatisfy { $0.hasRequest || now - $0.start >= Self.requestTime }
      && (now - start >= Self.reconnectTime
        || Set(connections.compactMap(\.export)).count == exports.count)
  }

  /// Waits for something to do, and answers QEMU.
  private func wait(_ connections: inout [DroppingConnection], _ rescue: Rescue?) {
    var readiness = Readiness()
    readiness.add(signals.descriptor)
    readiness.add(listener)
    for connection in connections {
      readiness.add(connection.socket, writing: connection.hasOutput)
    }
    if let socket = rescue?.socket { readiness.add(socket) }
    let delay = min(rescue?.delay ?? 0.05, 1)
    readiness.wait(milliseconds: max(0, Int((delay * 1000).rounded(.up))))
    // The backup is already being ended; a signal has no further effect.
    while signals.next() != nil {}
    do {
      while let socket = try listener.acceptNow() {
        connections.append(DroppingConnection(socket, exports))
      }
    } catch {
      // Possibly out of descriptors: the other connections continue.
      Host.sleep(milliseconds: 10)
    }
    connections.removeAll { !$0.serve(buffer) }
  }
}
