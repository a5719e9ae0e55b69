// SPDX-License-Identifier: Apache-2.0

package import Disks
import HeapModule
package import System
package import VMA

/// Brings the disks of an archive that comes through a pipe in order, with a waiting room for what
/// comes early.
///
/// The disks are taken one after another, in the order given; each is streamed (`stream`), as far
/// as possible without the waiting room, or collected there whole (`collect`).
package final class StreamReorder {
  private let source: any ExtentSource
  private let devices: [ArchiveHeader.Device]
  private let directory: String?
  private var room: WaitingRoom?
  private var waiting: [UInt8: Heap<DataRun>] = [:]
  private var isAtEnd = false
  private let toleratesTruncation: Bool
  /// Where the archive ends in the middle of an extent, if that is tolerated.
  package private(set) var truncation: Failure?
  private let scratch: Buffer

  /// - Parameters:
  ///   - devices: those that will be asked for, and in this order; data of others is dropped.
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

  /// Gives a disk to a sink as its data comes.
  ///
  /// - Parameter window: bytes of the disk; all of it where nil.
  package func stream<Sink: DiskSink>(
    _ device: ArchiveHeader.Device, to sink: Sink, window: Range<UInt64>? = nil
  ) throws -> Sink {
    let isOpenEnded = device.isVMState && window == nil
    var cursor = DiskCursor(sink, window: window ?? 0..<(isOpenEnded ? .max : device.size))
    // All clusters before this one have gone to the sink, or are not for it.
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
    // Bytes of it that the sink was given and has not written yet.
    var scratchCount = 0
    func flush() throws {
      try cursor.flush()
      scratchCount = 0
    }
    /// Emits what waits before `limit` and is due. All that the census knows before `limit` must
    /// have been emitted or be waiting: of an extent in hand, what lies before the run in hand.
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
    // To the end of the archive for the last disk, so that all of it is checked.
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

  /// Whether all clusters of a part of a disk came.
  private func isThere(_ window: Range<UInt64>?, of device: ArchiveHeader.Device) -> Bool {
    window.map { source.census.has($0, of: device) } ?? source.census.isComplete(device)
  }

  /// Waits until all of a disk is there.
  ///
  /// - Parameter partly: whether a disk is wanted of which only a part came.
  /// - Returns: the disk; nil where the archive ends without all of it.
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
      file: try openRoom().file, runs: runs, size: source.census.length(of: device), frees: room)
  }

  /// Reads the rest of the archive, so that it is checked.
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

  /// Puts a run aside, if its device will be asked for.
  private func wait(_ run: DataRun, of id: UInt8, in extent: Extent) throws {
    guard let count = waiting[id]?.count else { return }
    // It grows by doubling, when it is full.
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
