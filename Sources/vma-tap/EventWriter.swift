// SPDX-License-Identifier: Apache-2.0

import ChangedBlocks
import System
import VMA

/// Writes the event stream: its declarations, the events of the queue, and an end or abort record.
final class EventWriter: @unchecked Sendable {
  /// The minimum length of zeros inside a cluster to get a record of their own: a record costs its
  /// reader more than a few blocks of zeros.
  private static let shortestZeroRun = 4 * VMAFormat.blockSize
  /// At most 1 MiB of data in one call.
  private static let batchSize = 16

  private let output: Descriptor
  private let queue: EventQueue
  private let mailbox: Mailbox
  private let devices: [ArchiveHeader.Device]
  // Only for the writing thread.
  /// For records without data.
  private let headers: Buffer
  private var recordCount: UInt64 = 0
  /// The number of bytes written; read it only after the end.
  private(set) var byteCount: UInt64 = 0

  // For both threads.
  private let monitor = Monitor()
  private var abortReason: String?
  private var isAtEnd = true

  init(
    _ output: Descriptor, _ devices: [ArchiveHeader.Device], _ queue: EventQueue, _ mailbox: Mailbox
  ) throws {
    headers = try Buffer(capacity: Self.batchSize * StreamFormat.headerSize)
    self.output = output
    self.devices = devices
    self.queue = queue
    self.mailbox = mailbox
  }

  /// Writes the declarations, and then the events of the queue on a thread of its own.
  ///
  /// - Parameter time: the point in time of the backup, in seconds since 1970.
  func start(configs: [ArchiveHeader.Config], time: Int64) throws {
    isAtEnd = false
    _ = try Thread { [self] in
      do {
        try writeHead(configs, time)
        while let batch = try queue.next(atMost: Self.batchSize) {
          try write(batch)
          queue.recycle(batch)
        }
        try writeEnd()
        mailbox.post(.written)
      } catch {
        mailbox.post(.outputFailed(error as? Failure ?? Failure(.inputOutput, "\(error)")))
      }
      monitor.withLock {
        isAtEnd = true
        monitor.wakeAll()
      }
    }
  }

  /// Drops all data that is not written and ends the stream with an abort record.
  func abort(_ reason: String) {
    monitor.withLock {
      abortReason = reason
      monitor.wakeAll()
    }
    queue.discard()
  }

  /// Waits until a reader that still reads has received everything.
  func waitForEnd(milliseconds: Int) {
    let limit = Host.uptime + Double(milliseconds) / 1000
    monitor.withLock {
      while !isAtEnd, Host.uptime < limit { monitor.wait(until: limit) }
    }
  }

  private func writeHead(_ configs: [ArchiveHeader.Config], _ time: Int64) throws {
    for config in configs { try write(.config, payload: config.name + [0] + config.data) }
    for device in devices {
      try write(.device, device: device.id, length: device.size, payload: device.name)
    }
    try write(.begin, offset: UInt64(max(time, 0)))
  }

  private func writeEnd() throws {
    guard queue.isDiscarded else {
      for device in devices { try write(.finish, device: device.id) }
      return try write(.end, offset: recordCount)
    }
    // Dropped data is missing in the stream, so it must not end like a complete one. The reason may
    // arrive after the data was dropped.
    let reason = monitor.withLock {
      while true {
        if let abortReason { return abortReason }
        monitor.wait()
      }
    }
    try write(.abort, payload: Array(String(reason.prefix(256)).utf8))
  }

  /// Writes a record without disk data.
  private func write(
    _ kind: Record.Kind, device: UInt8 = 0, offset: UInt64 = 0, length: UInt64 = 0,
    payload: [UInt8] = []
  ) throws {
    let header = header(
      kind, device: device, offset: offset, length: length, payloadSize: payload.count)
    try output.write(header + payload)
    byteCount += UInt64(header.count + payload.count)
  }

  private func header(
    _ kind: Record.Kind, device: UInt8, offset: UInt64, length: UInt64, payloadSize: Int = 0,
    isOfGuest: Bool = false
  ) -> [UInt8] {
    defer { recordCount += 1 }
    return Record(
      kind, device: device, isCausedByGuest: isOfGuest, offset: offset, length: length,
      payloadSize: payloadSize, sequence: UInt32(truncatingIfNeeded: recordCount)
    ).bytes
  }

  private func write(_ batch: [Event]) throws {
    var pieces: [(buffer: Buffer, range: Range<Int>)] = []
    for (index, event) in batch.enumerated() {
      switch event {
      case .zeros(let device, let offset, let length, let isOfGuest):
        let header = header(
          .zeros, device: device, offset: offset, length: length, isOfGuest: isOfGuest)
        let place = index * StreamFormat.headerSize
        headers.copy(header, to: place)
        pieces.append((headers, place..<place + header.count))
        Progress.current.add(length)
      case .data(let cluster):
        pieces += self.pieces(of: cluster)
        Progress.current.add(UInt64(cluster.length))
      }
    }
    try output.write(pieces)
    byteCount += UInt64(pieces.reduce(0) { $0 + $1.range.count })
  }

  /// The records of a cluster, built in its buffer.
  ///
  /// Each header directly precedes its data, in the headroom or in zeros that are not written. So
  /// does the header of these zeros; for zeros at the end of a cluster, it is at their start.
  private func pieces(of cluster: Cluster) -> [(buffer: Buffer, range: Range<Int>)] {
    var pieces: [(buffer: Buffer, range: Range<Int>)] = []
    func tell(_ kind: Record.Kind, _ part: Range<Int>, at place: Int) {
      let header = header(
        kind, device: cluster.device, offset: cluster.offset + UInt64(part.lowerBound),
        length: UInt64(part.count), payloadSize: kind == .oldData ? part.count : 0,
        isOfGuest: cluster.isOfGuest)
      cluster.buffer.copy(header, to: place)
      let size = kind == .oldData ? header.count + part.count : header.count
      pieces.append((cluster.buffer, place..<place + size))
    }
    let headerSize = StreamFormat.headerSize
    for run in runs(of: cluster) {
      let start = Cluster.headroom + run.range.lowerBound
      if !run.isZero {
        tell(.oldData, run.range, at: start - headerSize)
      } else if run.range.upperBound == cluster.length {
        tell(.zeros, run.range, at: start)
      } else {
        tell(.zeros, run.range, at: start + run.range.count - 2 * headerSize)
      }
    }
    return pieces
  }

  /// Splits a cluster into data and long runs of zeros.
  private func runs(of cluster: Cluster) -> [(range: Range<Int>, isZero: Bool)] {
    var runs: [(range: Range<Int>, isZero: Bool)] = []
    func append(_ range: Range<Int>, isZero: Bool) {
      if let last = runs.last, last.isZero == isZero {
        runs[runs.count - 1].range = last.range.lowerBound..<range.upperBound
      } else {
        runs.append((range, isZero))
      }
    }
    for start in stride(from: 0, to: cluster.length, by: VMAFormat.blockSize) {
      let range = start..<min(start + VMAFormat.blockSize, cluster.length)
      let place = Cluster.headroom + start
      append(range, isZero: cluster.buffer.isZero(place..<place + range.count))
    }
    let found = runs
    runs = []
    for run in found { append(run.range, isZero: run.isZero && isLong(run.range, cluster)) }
    return runs
  }

  private func isLong(_ range: Range<Int>, _ cluster: Cluster) -> Bool {
    range.count >= Self.shortestZeroRun || range.count == cluster.length
  }
}
