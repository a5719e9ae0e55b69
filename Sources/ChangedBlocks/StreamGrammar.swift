// SPDX-License-Identifier: Apache-2.0

/// Checks a stream record by record: numbers, order, names and ranges.
///
/// Call `accept` with each header. For a record that declares something, call `declare` with its
/// payload, too. The content of other payloads is not checked.
package struct StreamGrammar: Sendable {
  package struct Config: Hashable, Sendable {
    package var name: [UInt8]
    package var content: [UInt8]
  }

  package struct Device: Hashable, Sendable {
    package var id: UInt8
    package var name: [UInt8]
    /// The size in bytes.
    package var size: UInt64
    package var isFinished = false
    /// Whether this is the VM state, which consists of `state` records only.
    package var isState: Bool { name == Array("vmstate".utf8) }
  }

  private enum Phase {
    case declaring, telling, ended
  }

  package private(set) var configs: [Config] = []
  /// The devices in the order of their declaration.
  package private(set) var devices: [Device] = []
  /// The point in time in seconds since 1970, once a `begin` with a time was accepted.
  package private(set) var time: Int64?
  /// The number of accepted records.
  package private(set) var recordCount: UInt64 = 0
  private var phase = Phase.declaring
  /// The index in `devices` for each ID.
  private var index: [UInt8: Int] = [:]

  package init() {}

  /// Whether `begin` was accepted, after which nothing can be declared.
  package var hasBegun: Bool { phase != .declaring }
  package var hasEnded: Bool { phase == .ended }

  package func device(_ id: UInt8) -> Device? { index[id].map { devices[$0] } }

  /// Checks the next record.
  package mutating func accept(_ record: Record) throws(StreamFault) {
    guard phase != .ended else { throw .behindEnd }
    let expected = UInt32(truncatingIfNeeded: recordCount)
    guard record.sequence == expected else {
      throw .sequence(expected: expected, found: record.sequence)
    }
    try checkPlace(record)
    try checkFields(record)
    switch record.kind {
    case .begin:
      guard let seconds = Int64(exactly: record.offset) else { throw .time(record.offset) }
      time = seconds == 0 ? nil : seconds
      phase = .telling
    case .finish:
      if let index = index[record.device] { devices[index].isFinished = true }
    case .end:
      guard record.offset == recordCount else {
        throw .count(expected: recordCount, found: record.offset)
      }
      for device in devices where !device.isFinished { throw .notFinished(device.id) }
      phase = .ended
    default: break
    }
    recordCount += 1
  }

  /// Checks the payload of an accepted `config`, `device` or `abort` record.
  package mutating func declare(_ record: Record, _ payload: [UInt8]) throws(StreamFault) {
    switch record.kind {
    case .config:
      guard let end = payload.firstIndex(of: 0), StreamFormat.nameSizes.contains(end),
        payload.count - end - 1 <= StreamFormat.maximumConfigSize
      else { throw .config }
      let config = Config(name: Array(payload[..<end]), content: Array(payload[(end + 1)...]))
      guard !configs.contains(where: { $0.name == config.name }) else {
        throw .nameTwice(config.name)
      }
      guard configs.count < StreamFormat.maximumConfigCount else { throw .tooManyConfigs }
      configs.append(config)
    case .device:
      guard !payload.contains(0) else { throw .name }
      guard !devices.contains(where: { $0.name == payload }) else { throw .nameTwice(payload) }
      index[record.device] = devices.count
      devices.append(Device(id: record.device, name: payload, size: record.length))
    case .abort:
      throw .aborted(payload)
    default:
      throw .outOfPlace(record.kind)
    }
  }

  private func checkPlace(_ record: Record) throws(StreamFault) {
    switch record.kind {
    case .config, .device, .begin:
      guard phase == .declaring else { throw .outOfPlace(record.kind) }
    case .abort: break
    default:
      guard phase == .telling else { throw .outOfPlace(record.kind) }
    }
    switch record.kind {
    case .config, .begin, .end, .abort:
      guard record.device == 0 else { throw .field(record.kind) }
    case .device:
      guard (1...254).contains(record.device) else { throw .deviceNumber(record.device) }
      guard index[record.device] == nil else { throw .deviceTwice(record.device) }
    case .oldData, .zeros, .write, .state, .finish:
      guard let device = device(record.device) else { throw .unknownDevice(record.device) }
      guard !device.isFinished else { throw .finished(record.device) }
      let tellsState = record.kind == .state
      guard record.kind == .finish || tellsState == device.isState else {
        throw .outOfPlace(record.kind)
      }
    }
  }

  private func checkFields(_ record: Record) throws(StreamFault) {
    guard (0...StreamFormat.maximumPayload).contains(record.payloadSize) else {
      throw .payload(UInt32(clamping: record.payloadSize))
    }
    let sector = UInt64(StreamFormat.sectorSize)
    let isValid: Bool =
      switch record.kind {
      case .config: record.offset == 0 && record.length == 0 && record.payloadSize >= 2
      case .device: record.offset == 0 && StreamFormat.nameSizes.contains(record.payloadSize)
      case .begin, .end: record.length == 0 && record.payloadSize == 0
      case .oldData: record.length == UInt64(record.payloadSize)
      case .zeros: record.payloadSize == 0
      case .write:
        record.payloadSize == 0 && record.length <= UInt64(StreamFormat.maximumPayload)
      case .state:
        record.offset == 0 && record.length == UInt64(record.payloadSize)
          && record.length % sector == 0
      case .finish: record.offset == 0 && record.length == 0 && record.payloadSize == 0
      case .abort: record.offset == 0 && record.length == 0
      }
    guard isValid else { throw .field(record.kind) }
    switch record.kind {
    case .device:
      guard record.length > 0, record.length % sector == 0,
        record.length <= StreamFormat.maximumDeviceSize
      else { throw .size(record.length) }
    case .oldData, .zeros, .write:
      let size = device(record.device)?.size ?? 0
      guard record.length >= sector, record.length % sector == 0, record.offset % sector == 0,
        record.length <= size, record.offset <= size - record.length
      else { throw .range(offset: record.offset, length: record.length) }
    default: break
    }
  }
}
