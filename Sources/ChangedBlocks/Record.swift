// SPDX-License-Identifier: Apache-2.0

/// The numbers of the changed-block event stream, version 1, as vma-events(5) describes it.
///
/// ```
/// stream  = config* device* begin (old data | zeros | write | state | finish)* end
/// record  = 32 byte header, payload
/// ```
///
/// All integers are big-endian. An abort may come anywhere.
package enum StreamFormat {
  /// Bytes in the header of a record.
  package static let headerSize = 32
  /// The maximum payload in bytes, and the maximum length of an announced write.
  package static let maximumPayload = 16 << 20
  /// Sizes, offsets and lengths are multiples of this.
  package static let sectorSize = 512
  package static let maximumConfigCount = 255
  /// The maximum size of a config's content in bytes.
  package static let maximumConfigSize = 65535
  /// The possible lengths of the name of a device or config, in bytes.
  package static let nameSizes = 1...65534
  /// The maximum size of a device in bytes, which is that of an archive.
  package static let maximumDeviceSize: UInt64 = 1 << 48
  /// The second half of a completion message.
  package static let completionMark: UInt32 = .max

  static let magic: UInt32 = 0x4342_4531  // "CBE1"
}

/// The header of a record of the stream.
package struct Record: Hashable, Sendable {
  package enum Kind: UInt8, Hashable, Sendable, CaseIterable {
    /// `C`, a configuration file: name, NUL, content.
    case config = 0x43
    /// `D`, a device: the length is its size, the payload its name.
    case device = 0x44
    /// `B`, the point in time of the archive: the offset is its time in seconds since 1970, or 0.
    case begin = 0x42
    /// `O`, data as of that point in time.
    case oldData = 0x4f
    /// `Z`, zeros as of that point in time.
    case zeros = 0x5a
    /// `W`, a guest write that waits for an answer.
    case write = 0x57
    /// `S`, the next part of the VM state.
    case state = 0x53
    /// `F`, the device needs no more records.
    case finish = 0x46
    /// `E`, the end; the offset is the number of records before it.
    case end = 0x45
    /// `X`, the producer cancels the backup; the payload is the reason.
    case abort = 0x58
  }

  package var kind: Kind
  /// The ID of the device in the archive, 1…254; 0 if the record is about the entire stream.
  package var device: UInt8
  /// Whether a guest write caused the record; only for `oldData`, `zeros` and `write`.
  package var isCausedByGuest: Bool
  /// The offset in the device, in bytes.
  package var offset: UInt64
  /// The number of bytes of the device that the record is about.
  package var length: UInt64
  /// The number of bytes after the header.
  package var payloadSize: Int
  /// The number of records before this one, modulo 2^32.
  package var sequence: UInt32

  package init(
    _ kind: Kind, device: UInt8 = 0, isCausedByGuest: Bool = false, offset: UInt64 = 0,
    length: UInt64 = 0, payloadSize: Int = 0, sequence: UInt32
  ) {
    self.kind = kind
    self.device = device
    self.isCausedByGuest = isCausedByGuest
    self.offset = offset
    self.length = length
    self.payloadSize = payloadSize
    self.sequence = sequence
  }

  /// Reads a header and checks all that does not depend on earlier records: magic, type, flags, and
  /// the size of the payload.
  ///
  /// - Parameter bytes: 32 bytes.
  package init(parsing bytes: Span<UInt8>) throws(StreamFault) {
    guard bytes.count == StreamFormat.headerSize else { throw .torn }
    func load<Value: FixedWidthInteger & UnsignedInteger>(_ offset: Int) -> Value {
      (0..<Value.bitWidth / 8).reduce(0) { $0 << 8 | Value(bytes[offset + $1]) }
    }
    guard load(0) == StreamFormat.magic else { throw .magic }
    guard let kind = Kind(rawValue: bytes[4]) else { throw .unknownKind(bytes[4]) }
    self.kind = kind
    device = bytes[5]
    let flags: UInt16 = load(6)
    let knownFlags: UInt16 = [.oldData, .zeros, .write].contains(kind) ? 1 : 0
    guard flags & ~knownFlags == 0 else { throw .unknownFlags(flags) }
    isCausedByGuest = flags & 1 == 1
    offset = load(8)
    length = load(16)
    let size: UInt32 = load(24)
    guard size <= StreamFormat.maximumPayload else { throw .payload(size) }
    payloadSize = Int(size)
    sequence = load(28)
  }

  /// The 32 bytes of the header.
  package var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(StreamFormat.headerSize)
    func append(_ value: some FixedWidthInteger & UnsignedInteger) {
      for shift in stride(from: value.bitWidth - 8, through: 0, by: -8) {
        bytes.append(UInt8(truncatingIfNeeded: value >> shift))
      }
    }
    append(StreamFormat.magic)
    append(kind.rawValue)
    append(device)
    append(UInt16(isCausedByGuest ? 1 : 0))
    append(offset)
    append(length)
    append(UInt32(clamping: payloadSize))
    append(sequence)
    return bytes
  }
}

/// A message to the producer.
package enum Answer: Hashable, Sendable {
  /// The data for the record with this sequence number is saved: the write may continue.
  case safe(sequence: UInt32)
  /// The entire device is in the archive: its writes need not be announced any more.
  case complete(device: UInt8)

  /// 8 bytes.
  package var bytes: [UInt8] {
    let (first, second): (UInt32, UInt32) =
      switch self {
      case .safe(let sequence): (sequence, 0)
      case .complete(let device): (UInt32(device), StreamFormat.completionMark)
      }
    return [first, second].flatMap { word in
      [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> $0) }
    }
  }
}
