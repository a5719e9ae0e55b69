// SPDX-License-Identifier: Apache-2.0

import Compression
package import Disks
import HeapModule
package import System
package import VMA

/// Sorts the disks of an archive from a pipe, with a waiting room for data that arrives early.
///
/// The disks are processed one after another, in the given order. Each is streamed (`stream`), if
/// possible without the waiting room, or first collected there (`collect`).
package final class StreamReorder {
  private let source: any ExtentSource
  private let devices: [ArchiveHeader.Device]
  private let directory: String?
  private var room: WaitingRoom?
  private var waiting: [UInt8: Heap<DataRun>] = [:]
  private var isAtEnd = false
  private let toleratesTruncation: Bool
  /// Where the archive ends in the middle of an extent, if that is allowed.
  package private(set) var truncation: Failure?
  private let scratch: Buffer

  /// - Parameters:
  ///   - devices: the disks in the order of the calls; data of others is dropped.
  ///   - directory: of the waiting room's file, see `Descriptor.temporary`.
  ///   - toleratesTruncation: whether the archive may end in the middle of an extent.
  package init(
    _ source: any ExtentSource, devices: [ArchiveHeader.Device], directory: String?,
    toleratesTruncation: Bool = false
  ) throws {
    self.toleratesTruncation = toleratesTruncation
    scratch = try Buffer(capacity: VMAFormat.blocksPerExtent * VMAFormat.blockSize)
    self.source = source
    self.devices = devices
    self.directory = directory
    for device in devices { waiting[device.id] = Heap() }
  }

  /// Passes a disk to a sink as its data arrives.
  ///
  /// - Parameter window: bytes of the disk; the entire disk if nil.
  package func stream<Sink: DiskSink>(
    _ device: ArchiveHeader.Device, to sink: Sink, window: Range<UInt64>? = nil
  ) throws -> Sink {
    let isOpenEnded = device.isVMState && window == nil
    var cursor = DiskCursor(sink, window: window ?? 0..<(isOpenEnded ? .max : device.size))
    // The sink has received all clusters before this one that it needs.
    var next = (window?.lowerBound ?? 0) / UInt64(VMAFormat.clusterSize)

    func emit(_ run: DataRun, _ buffer: Buffer, at start: Int) throws {
      try run.forEachPiece { offset, position, length in
        let place = start + position
        let end =
          device.isVMState ? length : Int(min(UInt64(length), device.size - offset))
        try cursor.write(buffer, place..<place + end, at: offset)
      }
      next = run.end
    }
    // The number of its bytes that were passed to the sink, but are not written yet.
    var scratchCount = 0
    func flush() throws {
      try cursor.flush()
      scratchCount = 0
    }
    /// Emits the data in the waiting room before `limit`. All known data before `limit` must be
    /// emitted already, or be in the waiting room, including the start of the current extent.
    func drain(below limit: UInt64 = .max) throws {
      while let run = waiting[device.id]?.min, run.cluster < limit {
        if let gap = source.census.next(
          seen: false, of: device, from: next, below: UInt64(run.cluster))
        {
          next = gap
          return
        }
        waiting[device.id]?.removeMin()
        if scratchCount + run.length > scratch.capacity { try flush() }
        try room?.load(run, into: scratch, at: scratchCount)
        try emit(run, scratch, at: scratchCount)
        scratchCount += run.length
      }
    }

    try drain()
    // For the last disk, up to the end of the archive, so that the entire archive is checked.
    while !source.census.isComplete(device) || device.isVMState || device == devices.last,
      let extent = try nextExtent()
    {
      var runs: [DataRun] = []
      extent.header.forEachRun(from: 0) { run, id in if id == device.id { runs.append(run) } }
      for run in runs.sorted() where run.isNeeded(in: window) {
        try drain(below: UInt64(run.cluster))
        let isDue =
          source.census.next(seen: false, of: device, from: next, below: UInt64(run.cluster)) == nil
          && (waiting[device.id]?.min).map { run < $0 } ?? true
        if isDue {
          try emit(run, extent.buffer, at: Int(run.position))
        } else {
          try wait(run, of: device.id, in: extent)
        }
      }
      try drain()
      try keepOthers(extent, but: device)
      try flush()
      source.recycle(extent)
    }
    guard isThere(window, of: device) else { return cursor.sink }
    if isOpenEnded { cursor.end(at: source.census.length(of: device)) }
    try cursor.finish()
    return cursor.sink
  }

  /// Whether all clusters of a part of a disk have arrived.
  private func isThere(_ window: Range<UInt64>?, of device: ArchiveHeader.Device) -> Bool {
    window.map { source.census.has($0, of: device) } ?? source.census.isComplete(device)
  }

  /// Waits until the entire disk has arrived.
  ///
  /// - Parameter partly: whether to accept an incomplete disk.
  /// - Returns: the disk; nil if the archive ends before it is complete.
  package func collect(_ device: ArchiveHeader.Device, partly: Bool = false) throws -> OrderedDisk?
  {
    while !source.census.isComplete(device) || device.isVMState, let extent = try nextExtent() {
      try keepOthers(extent, but: nil)
      source.recycle(extent)
    }
    guard partly || source.census.isComplete(device) else { return nil }
    try Host.requireMemory(2 * (waiting[device.id]?.count ?? 0) * MemoryLayout<DataRun>.stride)
    let runs = waiting.updateValue(Heap(), forKey: device.id)?.unordered.sorted() ?? []
    return OrderedDisk(
      access: try FileBytes(openRoom().file), runs: runs,
      size: source.census.length(of: device), frees: room)
  }

  /// Reads the rest of the archive to check it.
  package func finish() throws {
    while let extent = try nextExtent() { source.recycle(extent) }
  }

  private func nextExtent() throws -> Extent? {
    guard !isAtEnd else { return nil }
    do {
      let extent = try source.next()
      isAtEnd = extent == nil
      return extent
    } catch let failure as Failure where failure.isTruncation && toleratesTruncation {
      truncation = failure
      isAtEnd = true
      return nil
    }
  }

  private func keepOthers(_ extent: Extent, but current: ArchiveHeader.Device?) throws {
    try extent.header.forEachRun(from: 0) { run, id in
      if id != current?.id { try wait(run, of: id, in: extent) }
    }
  }

  /// Stores a run in the waiting room if its device will be needed.
  private func wait(_ run: DataRun, of id: UInt8, in extent: Extent) throws {
    guard let count = waiting[id]?.count else { return }
    // A full array doubles its capacity.
    if count.nonzeroBitCount == 1 {
      try Host.requireMemory(2 * count * MemoryLayout<DataRun>.stride)
    }
    waiting[id]?.insert(try openRoom().store(run, from: extent.buffer))
  }

  private func openRoom() throws -> WaitingRoom {
    if let room { return room }
    let room = try WaitingRoom(directory: directory)
    self.room = room
    return room
  }
}

extension DataRun {
  fileprivate func isNeeded(in window: Range<UInt64>?) -> Bool {
    guard let window else { return true }
    return UInt64(cluster) * UInt64(VMAFormat.clusterSize) < window.upperBound
      && end * UInt64(VMAFormat.clusterSize) > window.lowerBound
  }
}
