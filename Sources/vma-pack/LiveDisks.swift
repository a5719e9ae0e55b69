// SPDX-License-Identifier: Apache-2.0

import Archives
import ChangedBlocks
import Command
import Disks
import Files
import System
import VMA

/// A descriptor as the source of an event stream.
private final class DescriptorEvents: EventBytes {
  private let descriptor: Descriptor

  init(_ descriptor: Descriptor) {
    self.descriptor = descriptor
    descriptor.widenPipe()
  }

  func isReady(within milliseconds: Int32) -> Bool {
    descriptor.isReadable(within: milliseconds)
  }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    try descriptor.read(into: buffer, range)
  }

  func isAtEnd() throws -> Bool {
    // A producer that waits for us before it closes its end has still sent everything.
    guard descriptor.isReadable(within: 10_000) else { return true }
    return try descriptor.read(into: try Buffer(capacity: 1), 0..<1) == 0
  }
}

/// The disks of a running VM, from an event stream on standard input: its declarations are read
/// first, and `pack` reads the rest.
final class LiveDisks: @unchecked Sendable {
  let configs: [ArchiveHeader.Config]
  let devices: [ArchiveHeader.Device]
  /// The point in time in seconds since 1970, if the stream states it.
  let time: Int64?
  private let input: EventInput
  private let sources: [UInt8: DiskSource]
  private let answers: Descriptor?
  private let directory: String?
  private var engine: CopyBeforeWrite?

  /// Reads the stream up to its `begin`.
  ///
  /// - Parameters:
  ///   - operands: names of devices, and the sources to copy them from.
  ///   - answers: the descriptor of `--ack-fd`.
  ///   - directory: of `--tmpdir`.
  init(operands: [(name: String, path: String)], answers: Int32?, directory: String?) throws {
    if let answers, answers < 3 || !Descriptor.isInherited(answers) {
      throw Failure(.usage, "--ack-fd: \(answers) is not an open descriptor above 2")
    }
    self.answers = answers.map { Descriptor(raw: $0, name: "descriptor \($0) of --ack-fd") }
    try self.answers?.claimAsOutput()
    self.directory = directory
    let stream = try Descriptor.claimedStandardInput()
    let name = stream.name
    guard !stream.isTerminal else {
      throw Failure(.usage, "standard input is a terminal (--events reads a stream from it)")
    }
    input = try EventInput(DescriptorEvents(stream), name: name)
    while !input.grammar.hasBegun { _ = try input.next() }

    let grammar = input.grammar
    time = grammar.time
    configs = grammar.configs.map { ArchiveHeader.Config(name: $0.name, data: $0.content) }
    devices = grammar.devices.sorted { $0.id < $1.id }
      .map { ArchiveHeader.Device(id: $0.id, name: $0.name, size: $0.size) }
    var sources: [UInt8: DiskSource] = [:]
    for operand in operands {
      guard let device = devices.first(where: { $0.name == Array(operand.name.utf8) }) else {
        throw Failure(.noInput, "\(name): no such device: \(operand.name)")
      }
      guard !device.isVMState else {
        throw Failure(.usage, "vmstate comes from the stream and cannot have a source")
      }
      let source = try DiskSource(
        operand.path, declaredSize: nil, multiple: UInt64(VMAFormat.sectorSize), pads: false,
        isLive: true, warn: Console.warn)
      guard source.size == device.size else {
        throw Failure(
          .badData,
          "\(source.name): size is \(source.size) bytes, but the stream states \(device.size)")
      }
      sources[device.id] = source
    }
    self.sources = sources
  }

  /// Reads the rest of the stream.
  func pack(into queue: ExtentQueue) throws {
    let engine = try CopyBeforeWrite(
      input, sources: sources, queue: queue, answer: answers.map(Self.writer),
      directory: directory)
    self.engine = engine
    try engine.run()
  }

  /// Releases the sources, once the archive is complete and has its final name.
  func close() {
    for source in sources.values { source.close() }
  }

  private static func writer(of answers: Descriptor) -> (Answer) throws -> Void {
    { answer in
      do throws(Failure) {
        try answers.write(answer.bytes)
      } catch {
        throw Failure(.badData, "\(error.message); the producer no longer accepts acknowledgements")
      }
    }
  }

  /// The additional summary of `--verbose`.
  var summary: String {
    guard let engine else { return "" }
    return "; \(Counted(engine.guestRecords, "guest write")), "
      + "\(ByteCount(min(engine.repeatedSectors, .max / 512) * 512)) resent"
  }
}
