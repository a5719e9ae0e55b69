// SPDX-License-Identifier: Apache-2.0

/// A `qemu-server.conf`, as far as restoring with `qmrestore` depends on it: the lines that tie
/// disks of the machine to devices of the archive, as vma(5) describes them. All else in it stays
/// as it is, whatever its bytes.
public struct ServerConfig {
  public static let name: [UInt8] = Array("qemu-server.conf".utf8)

  /// `#qmdump#map:<disk>:<device>:<storage>:<format>:`
  public struct MapLine: Hashable, Sendable {
    /// `scsi0`
    public var disk: String
    /// `drive-scsi0`
    public var device: String
    /// May be empty, like the format.
    public var storage: String
    public var format: String

    public init(disk: String, device: String, storage: String, format: String) {
      self.disk = disk
      self.device = device
      self.storage = storage
      self.format = format
    }

    fileprivate static let mark = Array("#qmdump#map:".utf8)

    /// - Returns: nil for a line that `qmrestore` would not take.
    fileprivate init?(_ line: ArraySlice<UInt8>) {
      let text = String(decoding: line.dropFirst(Self.mark.count), as: UTF8.self)
      let fields = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
      guard fields.count == 5, fields[4].isEmpty, !fields[0].isEmpty, !fields[1].isEmpty,
        !text.unicodeScalars.contains(where: \.properties.isWhitespace)
      else { return nil }
      self.init(disk: fields[0], device: fields[1], storage: fields[2], format: fields[3])
    }

    fileprivate var bytes: [UInt8] {
      Self.mark + Array("\(disk):\(device):\(storage):\(format):".utf8)
    }
  }

  /// A line before the first `[section]`; what is behind that describes snapshots.
  private enum Line {
    case map(MapLine)
    case other(ArraySlice<UInt8>)
  }

  private var head: [Line] = []
  private let tail: ArraySlice<UInt8>

  /// - Throws: status 65 for a map line that `qmrestore` would not take.
  public init(_ content: [UInt8]) throws {
    var rest = content[...]
    while let first = rest.first, first != UInt8(ascii: "[") {
      let end = rest.firstIndex(of: 10) ?? rest.endIndex
      let line = rest[rest.startIndex..<end]
      if line.starts(with: MapLine.mark) {
        guard let map = MapLine(line) else {
          throw Self.refusal("bad line '\(String(decoding: line, as: UTF8.self))'")
        }
        head.append(.map(map))
      } else {
        head.append(.other(line))
      }
      rest = rest[min(end + 1, rest.endIndex)...]
    }
    tail = rest
  }

  public static func refusal(_ why: String) -> Failure {
    Failure(.badData, "qemu-server.conf: \(why)")
  }

  public var mapLines: [MapLine] {
    head.compactMap { if case .map(let map) = $0 { map } else { nil } }
  }

  public mutating func add(_ map: MapLine) {
    head.append(.map(map))
  }

  /// The disks that have a line of their own, such as `scsi0: local-lvm:vm-101-disk-0,size=32G`.
  public var disks: Set<String> {
    Set(
      head.compactMap { line in
        guard case .other(let bytes) = line, let colon = bytes.firstIndex(of: UInt8(ascii: ":"))
        else { return nil }
        let disk = String(decoding: bytes[..<colon], as: UTF8.self)
        return Self.isDisk(disk) ? disk : nil
      })
  }

  private static func isDisk(_ name: String) -> Bool {
    ["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"].contains { bus in
      name.hasPrefix(bus) && name.utf8.count > bus.utf8.count
        && name.utf8.dropFirst(bus.utf8.count).allSatisfy { (48...57).contains($0) }
    }
  }

  /// The whole file.
  ///
  /// - Parameter rewrite: gives what stands in the place of a map line.
  public func content(rewrite: ((MapLine) -> String)? = nil) -> [UInt8] {
    var content: [UInt8] = []
    for line in head {
      switch line {
      case .map(let map): content += rewrite.map { Array($0(map).utf8) } ?? map.bytes
      case .other(let bytes): content += bytes
      }
      content.append(10)
    }
    return content + tail
  }
}
